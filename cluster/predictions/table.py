"""A table of predictions as one row an id, and how its ids go with those of the rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.folds import IdKeys, id_keys
from cluster.io.tables import read_table
from cluster.models.other_predictions import counted
from relabel_service.errors import InvalidInput
from relabel_service.tables.delta import is_delta
from relabel_service.tables.formats import guess
from relabel_service.tables.formats.base import ImportOptions, origin_of
from relabel_service.tables.row_ids import check_id_type, row_ids

ID, USUAL_ID = "__id__", "id"  # the column of ids as text; what others usually call theirs


@dataclass(frozen=True)
class Matched:
    """num_rows, num_predictions: of either side. lacking: rows without a prediction; unknown:
    predictions of no row; ids of a few of each are in words."""

    num_rows: int
    num_predictions: int
    num_lacking: int
    num_unknown: int
    in_words: str

    @property
    def has_none(self) -> bool:
        return self.num_lacking == self.num_rows


def read_predictions(uri: str, *, id_column: str | None) -> pa.Table:
    """The table with its ids as text in the column ID.

    uri: Delta, or anything that `relabel import` reads. id_column: what the rows' ids are called;
    a file without one goes by the number of its lines, where rows do too.
    Raises NotFound where nothing lies, InvalidInput where it has no ids, or one twice.
    """
    if is_delta(uri):
        table = pa.concat_tables(read_table(uri))
    else:
        table = guess(uri).read(uri, ImportOptions()).read_all()
    origin = origin_of(table.schema)
    number = origin.row_number if origin else None
    column = next((name for name in (id_column, USUAL_ID) if name in table.column_names), None)
    if column is None or (column == number and id_column != number):
        raise InvalidInput.of(
            "predictions",
            f"{uri!r} has no column {id_column or USUAL_ID!r}; it has "
            f"{', '.join(table.column_names)}: give each prediction the id of its row there",
        )
    check_id_type(column, table.schema.field(column).type)
    ids = row_ids(table[column])
    if (num_again := len(ids) - pc.count_distinct(ids).as_py()) > 0:
        raise InvalidInput.of(
            "predictions",
            f"{uri!r} has {num_again:,} ids of {len(ids):,} twice; give each row one prediction",
        )
    added = set(origin.columns) if origin else set()
    kept = [name for name in table.column_names if name != column and name not in added]
    return table.select(kept).append_column(ID, ids)


def match(predictions: pa.Table, row_names: pa.ChunkedArray, uri: str) -> Matched:
    """How the predictions' ids go with the rows'."""
    ids = predictions[ID]
    lacking = row_names.filter(pc.invert(pc.is_in(row_names, value_set=ids.combine_chunks())))
    unknown = ids.filter(pc.invert(pc.is_in(ids, value_set=row_names.combine_chunks())))
    return Matched(
        len(row_names),
        len(ids),
        len(lacking),
        len(unknown),
        f"{uri!r}: {counted(lacking.to_pylist(), row_names, 'rows have no prediction')}, and "
        f"{counted(unknown.to_pylist(), ids, 'predictions are of ids that the table lacks')}",
    )


class ById:
    """Predictions looked up by id."""

    def __init__(self, predictions: pa.Table) -> None:
        keys = id_keys(predictions[ID])
        self._order = np.argsort(keys)
        self._keys: IdKeys = keys[self._order]
        self._table = predictions.drop_columns([ID])

    def rows_of(self, ids: list[str]) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
        """The predictions' rows of those ids that have one, in order; and which have, [ids]."""
        if not len(self._keys):
            return self._table, np.zeros(len(ids), np.bool_)
        wanted = id_keys(ids)
        index = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        has_row = self._keys[index] == wanted
        return self._table.take(pa.array(self._order[index[has_row]])), has_row
