"""Imported tables: written as parquet or Delta, and read back in the order of their numbers.

Memory stays flat: rows stream, and a table that a merge has shuffled is put in order through
files on disk.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from deltalake import write_deltalake

from relabel_service.errors import AlreadyExists
from relabel_service.tables import delta, files, preflight
from relabel_service.tables.formats.base import BATCH_BYTES, BATCH_ROWS, origin_of
from relabel_service.tables.parquet import parquet_dataset

READING = {"batch_size": BATCH_ROWS, "batch_readahead": 1, "fragment_readahead": 1}
MAX_BUCKETS = 256  # files open at once while a table is put in order


def write_table(rows: pa.RecordBatchReader, uri: str) -> int:
    """Write a new table: a parquet file where the name ends in .parquet, else Delta. Its rows.

    Raises AlreadyExists where there is something.
    """
    counted = 0
    fault: BaseException | None = None

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal counted, fault
        try:
            for batch in rows:
                counted += batch.num_rows
                yield batch
        except Exception as error:
            fault = error
            raise

    if uri.endswith(".parquet"):
        files.refuse_existing(uri)
        with files.created(uri) as stream, pq.ParquetWriter(stream, rows.schema) as writer:
            for batch in batches():
                writer.write_batch(batch)
        return counted
    if delta.is_delta(uri):
        raise AlreadyExists(f"{uri!r} is a table already; name another address")
    try:
        stream = pa.RecordBatchReader.from_batches(rows.schema, batches())
        write_deltalake(uri, stream, mode="error")
    except Exception as error:
        if fault is not None:  # deltalake 1.6 tells it as text among its own
            raise fault from None
        if not delta.is_table_error(error):
            raise
        raise preflight.refusal(uri, error) from None
    return counted


class StoredTable:
    """A parquet or Delta table to export. Raises NotFound where there is none."""

    def __init__(self, uri: str, version: int | None = None) -> None:
        self._uri, self._scanner = uri, _scanner(uri, version)
        self.schema = self._scanner().projected_schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows: in the file's order where an import made it, else as they are stored."""
        origin = origin_of(self.schema)
        if origin is None or self._is_sorted(origin.row_number):
            yield from self._stream()
        else:
            yield from self._in_order(origin.row_number)

    def column(self, name: str) -> Iterator[pa.Array]:
        for batch in self._stream([name]):
            yield batch[name]

    def _stream(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        with delta.readable(self._uri):
            yield from self._scanner(columns).to_batches()

    def _is_sorted(self, column: str) -> bool:
        """Whether rows come in order of their numbers as they are scanned."""
        last = -1
        for batch in self._stream([column]):
            numbers = batch[column].drop_null().to_numpy()
            if batch[column].null_count or (numbers[1:] < numbers[:-1]).any():
                return False
            if len(numbers):
                if numbers[0] < last:
                    return False
                last = int(numbers[-1])
        return True

    def _in_order(self, column: str) -> Iterator[pa.RecordBatch]:
        """Rows by number; those without one, which others added, come last.

        A bucket file takes each range of numbers, and each range is sorted in memory.
        """
        highest = max(pc.max(numbers).as_py() or 0 for numbers in self.column(column))
        with tempfile.TemporaryDirectory() as folder:
            size = self._bucket_size(highest + 1)
            buckets: dict[int, pa.ipc.RecordBatchFileWriter] = {}
            for batch in self._stream():
                numbers = pc.fill_null(pc.divide(batch[column], size), MAX_BUCKETS)
                for bucket in pc.unique(numbers).to_pylist():
                    if bucket not in buckets:
                        buckets[bucket] = pa.ipc.new_file(f"{folder}/{bucket}", self.schema)
                    buckets[bucket].write_batch(batch.filter(pc.equal(numbers, bucket)))
            for bucket in sorted(buckets):
                buckets[bucket].close()
                with pa.memory_map(f"{folder}/{bucket}") as file:
                    rows = pa.ipc.open_file(file).read_all().sort_by(column)
                    yield from rows.to_batches(BATCH_ROWS)
                Path(f"{folder}/{bucket}").unlink()

    def _bucket_size(self, num_rows: int) -> int:
        """How many rows a bucket takes: about BATCH_BYTES of them, and not too many buckets."""
        head = self._scanner().head(256)
        bytes_a_row = max(head.nbytes // max(head.num_rows, 1), 1)
        return int(max(BATCH_BYTES // bytes_a_row, -(-num_rows // MAX_BUCKETS), 1))


def _scanner(uri: str, version: int | None) -> Callable[..., pads.Scanner]:
    """What scans some columns of a table, or all."""
    if delta.is_delta(uri):
        table = delta.open_table(uri, version)
        return lambda columns=None: delta.scanner(table, columns, **READING)
    return partial(parquet_dataset(uri).scanner, filter=None, **READING)
