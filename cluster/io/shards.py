"""Shards: parquet files that an engine writes while it works, and that a restart keeps.

A shard appears whole or not at all, and work that is repeated writes the same name again, so that
no row is ever in two of them.
"""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.io.folder import Folder

# A restart judges again what was in no part yet, and ranking is some tasks a part.
SHARD_ROWS = 4_096


def write_shard(folder: Folder, name: str, table: pa.Table) -> int:
    """Write one file; its size in bytes."""
    data = io.BytesIO()
    pq.write_table(table, data, compression="zstd")
    folder.write(name, data.getvalue())
    return data.getbuffer().nbytes


def read_shard(
    folder: Folder,
    name: str,
    columns: Sequence[str] | None = None,
    *,
    leave_out: Sequence[str] = (),
) -> pa.Table:
    """A part's rows; all columns, those named, or all but those left out."""
    file = pq.ParquetFile(io.BytesIO(folder.read(name)))
    wanted = columns or [one for one in file.schema_arrow.names if one not in leave_out]
    return file.read(columns=list(wanted))


def shard_names(folder: Folder, name: str) -> list[str]:
    return folder.names(name, ".parquet")


def not_in_shards(parts: pa.Table) -> Any:
    """A batch function that drops the ROWS that `parts` (id, fault) hold already.

    Fit and unfit rows apart: of rows that share an id, one is fit.
    """
    fit = pc.is_null(parts["fault"])
    fit_ids = parts.filter(fit)["id"].combine_chunks().unique()
    unfit_ids = parts.filter(pc.invert(fit))["id"].combine_chunks().unique()

    def keep(batch: pa.Table) -> pa.Table:
        done = pc.if_else(
            pc.is_null(batch["fault"]),
            pc.is_in(batch["id"], value_set=fit_ids),
            pc.is_in(batch["id"], value_set=unfit_ids),
        )
        return batch.filter(pc.invert(done))

    return keep
