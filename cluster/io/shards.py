"""Shards: parquet files of some thousand rows each, written whole, which a restarted run keeps.

A shard appears whole or not at all, and a task that an engine repeats writes the same name
again, so no row is in two shards.
"""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.io.folder import Folder

# A run that is cut off loses what is in no shard yet; a function call for each shard costs time.
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
    """A shard's rows; all columns, those named, or all but those left out."""
    file = pq.ParquetFile(io.BytesIO(folder.read(name)))
    wanted = columns or [column for column in file.schema_arrow.names if column not in leave_out]
    return file.read(columns=list(wanted))


def num_shard_rows(folder: Folder, name: str) -> int:
    """A shard's rows, by its footer."""
    with folder.open(name) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def shard_names(folder: Folder, name: str) -> list[str]:
    """The shards in the folder's sub-folder `name`, sorted."""
    return folder.names(name, ".parquet")


class NotIn:
    """A batch function that drops the ROWS that are in some shards already.

    Rows with and without a fault are looked up apart: of rows that share an id, one has none.
    """

    def __init__(self, written: pa.Table) -> None:
        """written: `id` and `fault` of the shards' rows."""
        has_no_fault = pc.is_null(written["fault"])
        self._valid = written.filter(has_no_fault)["id"].combine_chunks().unique()
        self._invalid = written.filter(pc.invert(has_no_fault))["id"].combine_chunks().unique()

    def __call__(self, batch: pa.Table) -> pa.Table:
        is_written = pc.if_else(
            pc.is_null(batch["fault"]),
            pc.is_in(batch["id"], value_set=self._valid),
            pc.is_in(batch["id"], value_set=self._invalid),
        )
        return batch.filter(pc.invert(is_written))
