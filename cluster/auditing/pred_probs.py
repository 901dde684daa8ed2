"""Class probabilities in memory as tables of predictions, their rows named as the data's are."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.data.rows import Source
from cluster.io.tables import read_table
from relabel_service.errors import InvalidInput

MATRIX = 2  # dimensions
PROBABILITIES = "probabilities"


def written(pred_probs: Any, source: Source, folder: Path) -> list[str]:
    """Paths of the tables: one a model; none where there are none.

    pred_probs: as cluster.audit takes them. Raises InvalidInput where they are not one a row.
    """
    if pred_probs is None:
        return []
    if source.id_column is None:
        raise InvalidInput.of(
            "pred_probs", "go by the rows' order, and the rows have no ids; name a column by id="
        )
    is_several = isinstance(pred_probs, list | tuple) and pred_probs
    models = list(pred_probs) if is_several and np.ndim(pred_probs[0]) == MATRIX else [pred_probs]
    batches = read_table(source.uri, [source.id_column], version=source.version)
    ids = pa.concat_tables(batches)[source.id_column]
    paths = []
    for number, model in enumerate(models):
        table = _in_arrow(model)
        if table.num_rows != len(ids):
            raise InvalidInput.of(
                "pred_probs",
                f"has {table.num_rows:,} rows for {len(ids):,} of the data; give one a row, in "
                "its order",
            )
        path = str(folder / f"pred_probs_{number}.parquet")
        pq.write_table(table.append_column(_free(table, source.id_column), ids), path)
        paths.append(path)
    return paths


def _in_arrow(model: Any) -> pa.Table:
    if hasattr(model, "columns") and hasattr(model, "iloc"):  # pandas
        return pa.Table.from_pandas(model, preserve_index=False)
    matrix = np.asarray(model)
    if matrix.ndim != MATRIX or not np.issubdtype(matrix.dtype, np.number):
        raise InvalidInput.of(
            "pred_probs", f"{matrix.dtype} {matrix.shape}; give floats, a row an item"
        )
    rows = list(matrix.astype(np.float64))
    return pa.table({PROBABILITIES: pa.array(rows, pa.list_(pa.float64()))})


def _free(table: pa.Table, id_column: str) -> str:
    if id_column in table.column_names:
        raise InvalidInput.of(
            "pred_probs", f"has a column {id_column!r}, as the ids of the data; leave it out"
        )
    return id_column
