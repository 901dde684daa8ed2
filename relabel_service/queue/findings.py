"""One mine run's rows as an import reads them: in the same order every time, a few at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from relabel_service import tables

STEP = 2000  # rows of one transaction, and about as many in memory
STEP_BYTES = 32 * 2**20  # of the table's files, where rows are as large as pictures
BUFFER_BYTES = 2**20  # of a column read at once


class FindingsRun:
    """A run in one version of its table. Raises NotFound when there is none."""

    def __init__(self, uri: str, run_id: str, version: int) -> None:
        self._dataset = tables.open_table(uri, version).to_pyarrow_dataset()
        self._run_id = run_id
        self._is_run = ds.field("run_id") == run_id
        num_bytes = sum(tables.file_sizes(uri, version))
        rows_that_fit = STEP_BYTES * self._dataset.count_rows() // max(num_bytes, 1)
        self._step = max(1, min(STEP, rows_that_fit))

    def num_rows(self) -> int:
        return int(self._dataset.count_rows(filter=self._is_run))

    def first(self, columns: list[str]) -> dict[str, Any] | None:
        head = self._dataset.head(1, filter=self._is_run, columns=columns).to_pylist()
        return head[0] if head else None

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        for batch in self._scan(columns):
            yield from batch.to_pylist()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Up to STEP rows at a time, of about STEP_BYTES at most."""
        yield from self._scan(self._dataset.schema.names)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        # By path: the log's order of the files of one version may change when it is compacted.
        for file in sorted(self._dataset.get_fragments(), key=lambda one: one.path):
            for batch in self._read(file, list(columns)):
                if batch.num_rows:
                    yield batch

    def _read(self, file: Any, columns: list[str]) -> Iterator[pa.RecordBatch]:
        groups = [group.id for group in file.subset(self._is_run).row_groups]
        if not groups:
            return
        if not {*columns, "run_id"} <= set(file.physical_schema.names):
            # Partitioned, or written before a column was added: what is missing is made here.
            yield from file.to_batches(
                schema=self._dataset.schema, columns=columns, filter=self._is_run,
                batch_size=self._step,
            )  # fmt: skip
            return
        # A dataset's scan holds whole row groups, which may be thousands of pictures (pyarrow 26).
        with file.filesystem.open_input_file(file.path) as opened:
            parquet = pq.ParquetFile(opened, buffer_size=BUFFER_BYTES, pre_buffer=False)
            for batch in parquet.iter_batches(
                self._step, row_groups=groups, columns=sorted({*columns, "run_id"}),
                use_threads=False,
            ):  # fmt: skip
                yield batch.filter(pc.equal(batch["run_id"], self._run_id))
