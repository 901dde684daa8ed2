"""What a user has as a table that training and mining read: a path, or a table in memory.

Delta tables, and plain parquet whose rows have ids, are read where they are; anything else is
written to the audit's folder once, as `relabel import` would, with the row's number as its id.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.auditing.columns import Columns, guess
from cluster.data.rows import Source, latest
from cluster.io.tables import read_table
from relabel_service.errors import InvalidInput
from relabel_service.media import prefixes
from relabel_service.tables import files
from relabel_service.tables.delta import is_delta
from relabel_service.tables.formats import format_named
from relabel_service.tables.formats import guess as guess_format
from relabel_service.tables.formats.base import ImportOptions
from relabel_service.tables.formats.store import write_table

GIVEN, IMPORTED = "given.parquet", "table.parquet"  # in the audit's folder
LOOKED_AT_ROWS, LOOKED_AT_BYTES = 20_000, 64 << 20  # that columns are guessed from


def source_of(
    data: Any, folder: Path, columns: Columns, *, format_name: str = "", media: str | None = None
) -> tuple[Source, Columns]:
    """The table as a pinned source, and its columns.

    data: a path or address, a pandas DataFrame, an Arrow table, or a data set of the datasets
    library. folder: for what must be written. Raises as guess, as the format's reader, and as
    cluster.data.rows.latest.
    """
    given = str(data) if isinstance(data, str | Path) else _written(data, folder / GIVEN)
    uri = given
    found = None
    if is_read_in_place(given, format_name):
        found = guess(_head(given), columns)
    if found is None or (found.id is None and not is_delta(given)):
        uri = str(folder / IMPORTED)
        reader = format_named(format_name) if format_name else guess_format(given)
        files.require(given)
        write_table(reader.read(given, ImportOptions(media=media)), uri)
        found = guess(_head(uri), columns)
    assert found.task is not None
    assert found.label is not None
    near = prefixes.of_table(str(data)) if isinstance(data, str | Path) else ()
    source = Source(uri, found.task, found.content, found.label, found.id, media_prefixes=near)
    return latest(source), found


def is_read_in_place(uri: str, format_name: str) -> bool:
    if is_delta(uri):
        return True
    return (format_name or guess_format(uri).name) == "parquet"


def _head(uri: str) -> pa.Table:
    """Some rows of a table. Raises InvalidInput where it has none."""
    batches, num_rows, num_bytes = [], 0, 0
    for batch in read_table(uri):
        batches.append(batch)
        num_rows, num_bytes = num_rows + batch.num_rows, num_bytes + batch.nbytes
        if num_rows >= LOOKED_AT_ROWS or num_bytes >= LOOKED_AT_BYTES:
            break
    if not num_rows:
        raise InvalidInput.of("data", f"{uri!r} holds no rows; give labelled ones")
    return pa.concat_tables(batches, promote_options="permissive")


def _written(data: Any, path: Path) -> str:
    """A table in memory as a parquet file. Raises InvalidInput for what is no table."""
    pq.write_table(_in_arrow(data), path)
    return str(path)


def _in_arrow(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "features") and hasattr(data, "with_format"):  # of the datasets library
        table = data.with_format("arrow")[:]
        meaning = getattr(data.features, "arrow_schema", table.schema).metadata
        return table.replace_schema_metadata({**(table.schema.metadata or {}), **(meaning or {})})
    if hasattr(data, "columns") and hasattr(data, "iloc"):  # pandas
        try:
            return pa.Table.from_pandas(data, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InvalidInput.of(
                "data", f"a column has no type in Arrow ({error}); give each column one type"
            ) from None
    raise InvalidInput.of(
        "data",
        f"is {type(data).__name__}; give a path, a pandas DataFrame, an Arrow table or a data set "
        "of the datasets library",
    )
