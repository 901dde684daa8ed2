"""The one reader of every job: parquet, or a version of a Delta table, as a stream of tables."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable

from relabel_service.tables import delta
from relabel_service.tables.delta import is_delta
from relabel_service.tables.parquet import ParquetFiles, parquet_columns, parquet_dataset

# Rows of one table at most; batches of a file, and files, that Arrow reads ahead.
READING = {"batch_size": 1_024, "batch_readahead": 2, "fragment_readahead": 2}


def column_names(uri: str, version: int | None = None) -> list[str]:
    """Raises NotFound where nothing lies, InvalidInput where it is neither parquet nor Delta."""
    if is_delta(uri):
        return [field.name for field in delta.open_table(uri, version).schema().fields]
    return parquet_columns(uri)


def column_type(uri: str, name: str, version: int | None = None) -> pa.DataType:
    """Arrow type of a column that is there."""
    if is_delta(uri):
        return pa.schema(delta.open_table(uri, version).schema().to_arrow()).field(name).type
    return parquet_dataset(uri, [name]).schema.field(name).type


def count_rows(uri: str, version: int | None = None) -> int:
    """Rows of the table, by its files' own counts."""
    return count_opened(uri, opened(uri, version))


def count_opened(uri: str, table: DeltaTable | None) -> int:
    """As count_rows. table: as opened."""
    if table is None:
        return int(parquet_dataset(uri, ()).count_rows())
    return delta.count_rows(table)


def opened(uri: str, version: int | None = None) -> DeltaTable | None:
    """The table where it is Delta, its log read once for all that is asked of it."""
    return delta.open_table(uri, version) if is_delta(uri) else None


def num_bytes(uri: str, table: DeltaTable | None) -> int:
    """Size of the table's files. table: as opened."""
    return ParquetFiles.at(uri).num_bytes if table is None else sum(delta.file_sizes(table))


def read_table(
    uri: str, columns: Sequence[str] | None = None, *, version: int | None = None
) -> Iterator[pa.Table]:
    """The columns (all when left out) in tables of some rows, the first empty for its schema."""
    return read_opened(uri, opened(uri, version), columns)


def read_opened(
    uri: str, table: DeltaTable | None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """As read_table. table: as opened."""
    names = None if columns is None else list(columns)
    if table is not None:
        return _tables(uri, delta.scanner(table, names, **READING))
    return _read_files(uri, parquet_dataset(uri, names), names)


def read_in_shards(
    uri: str, columns: Sequence[str], *, version: int | None, num_shards: int
) -> list[Callable[[], Iterator[pa.Table]]]:
    """Functions for other processes, num_shards at most, that read the table together."""
    if is_delta(uri):
        return [partial(read_table, uri, columns, version=version)]
    dataset = parquet_dataset(uri, columns)
    files = list(dataset.get_fragments())
    return [
        partial(
            _read_files,
            uri,
            pads.FileSystemDataset(
                [files[index] for index in shard], dataset.schema, dataset.format
            ),
            list(columns),
        )
        for shard in np.array_split(np.arange(len(files)), min(num_shards, len(files)))
    ]


def _read_files(
    uri: str, dataset: pads.Dataset, columns: Sequence[str] | None
) -> Iterator[pa.Table]:
    return _tables(uri, dataset.scanner(columns=columns, **READING))


def _tables(uri: str, scanner: pads.Scanner) -> Iterator[pa.Table]:
    yield scanner.projected_schema.empty_table()
    with delta.readable(uri):
        for batch in scanner.to_batches():
            yield pa.Table.from_batches([batch])
