"""One mine run's findings, read in a stream and in the same order every time.

Memory stays that of some rows, however large the table's files and row groups are: Arrow's
dataset scanner would decode whole row groups, which Delta writers make a million rows long.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from relabel_service.errors import InvalidInput
from relabel_service.tables import delta

STEP = 2000  # rows of one transaction
STEP_BYTES = 32 * 2**20  # of the table's files, where rows are as large as pictures
READ = 1000  # rows decoded at once
BUFFER_BYTES = 2**20  # of each column


class FindingsRun:
    """Raises NotFound when the table is not there, InvalidInput when it has partitions."""

    def __init__(self, uri: str, run_id: str, version: int) -> None:
        table = delta.open_table(uri, version)
        if partitions := table.metadata().partition_columns:
            raise InvalidInput.of(
                "findings_uri",
                f"{uri!r} is partitioned by {', '.join(partitions)}; write it without partitions",
            )
        self._dataset = table.to_pyarrow_dataset()  # which refuses deletion vectors
        self._run_id = run_id
        self._is_run = ds.field("run_id") == run_id
        num_bytes = sum(delta.file_sizes(table))
        rows_that_fit = STEP_BYTES * self._dataset.count_rows() // max(num_bytes, 1)
        self._step = max(1, min(STEP, rows_that_fit))

    @property
    def schema(self) -> pa.Schema:
        return self._dataset.schema

    def num_rows(self) -> int:
        return int(self._dataset.count_rows(filter=self._is_run))

    def first(self, columns: list[str]) -> dict[str, Any] | None:
        return next(self.rows(columns), None)

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        for table in self.tables(columns):
            yield from table.to_pylist()

    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """Some rows of these columns at a time."""
        return self._read(columns)

    def batches(self) -> Iterator[pa.Table]:
        """STEP rows at a time, or fewer of about STEP_BYTES; the last may have fewer."""
        size = self._step
        pending: list[pa.Table] = []
        for table in self._read(self._dataset.schema.names):
            pending.append(table)
            while sum(table.num_rows for table in pending) >= size:
                joined = pa.concat_tables(pending)
                yield joined.slice(0, size)
                pending = [joined.slice(size)]
        if sum(table.num_rows for table in pending):
            yield pa.concat_tables(pending)

    def _read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows of the run; a column that a file does not have, yet, is null."""
        schema = pa.schema([self._dataset.schema.field(name) for name in columns])
        # By path: the log's order of one version's files may change when it is compacted.
        for fragment in sorted(
            self._dataset.get_fragments(filter=self._is_run), key=lambda fragment: fragment.path
        ):
            may_match = [group.id for group in fragment.subset(self._is_run).row_groups]
            with (
                fragment.filesystem.open_input_file(fragment.path) as source,
                pq.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER_BYTES) as file,
            ):
                present = [name for name in columns if name in file.schema_arrow.names]
                for batch in file.iter_batches(
                    min(READ, self._step), row_groups=may_match, columns=[*{*present, "run_id"}]
                ):
                    kept = batch.filter(pc.equal(batch["run_id"], self._run_id))
                    if kept.num_rows:
                        yield _filled(kept, schema)


def _filled(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The batch with exactly the schema's columns."""
    columns = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
