"""Parquet parts that Ray Data workers write, one file a write task, and that a restart keeps.

A part appears whole or not at all, and a task that Ray repeats writes the same
name again, so the rows of the parts are never doubled.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasink
from ray.data.block import BlockAccessor

from cluster.io.folder import Folder

# A restart judges again what was in no part yet, and ranking is some tasks a part.
SHARD_ROWS = 4_096


class ShardsSink(Datasink[str]):
    """Writes blocks, PART_ROWS or more together, as `<folder>/<attempt>-<task>.parquet`.

    attempt: told apart from earlier executions whose parts are kept.
    """

    def __init__(self, folder: Folder, name: str, *, attempt: str) -> None:
        self._folder, self._name, self._attempt = folder, name, attempt

    @property
    def min_rows_per_write(self) -> int:
        return SHARD_ROWS

    def write(self, blocks: Iterable[Any], ctx: Any) -> str:
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        name = f"{self._name}/{self._attempt}-{ctx.task_idx:06d}.parquet"
        filled = [table for table in tables if table.num_rows]
        if filled:
            write_shard(self._folder, name, pa.concat_tables(filled, promote_options="permissive"))
        return name


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
