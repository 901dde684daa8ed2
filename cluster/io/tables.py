"""The one reader of every job: parquet, or a version of a Delta table, as a stream of tables."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as pads

from cluster.io.parquet import ParquetFiles, parquet_columns, parquet_dataset
from relabel_service.errors import InvalidInput
from relabel_service.tables.delta import file_sizes, is_delta, open_table

BATCH_ROWS = 1_024  # at most, of one table of the stream
READ_AHEAD = 2  # batches of a file, and files, that Arrow reads before they are asked for


def column_names(uri: str, version: int | None = None) -> list[str]:
    """Raises NotFound where nothing lies, InvalidInput where it is neither parquet nor Delta."""
    if is_delta(uri):
        return [field.name for field in open_table(uri, version).schema().fields]
    return parquet_columns(uri)


def column_type(uri: str, name: str, version: int | None = None) -> pa.DataType:
    """Arrow type of a column that is there."""
    if is_delta(uri):
        return pa.schema(open_table(uri, version).schema().to_arrow()).field(name).type
    return parquet_dataset(uri, [name]).schema.field(name).type


def count_rows(uri: str, version: int | None = None) -> int:
    """Rows of the table, by its files' own counts."""
    if is_delta(uri):
        return int(open_table(uri, version).count())
    return int(parquet_dataset(uri, ()).count_rows())


def num_bytes(uri: str, version: int | None = None) -> int:
    """Size of the table's files."""
    if is_delta(uri):
        return sum(file_sizes(open_table(uri, version)))
    return ParquetFiles.at(uri).num_bytes


def read_table(
    uri: str, columns: Sequence[str] | None = None, *, version: int | None = None
) -> Iterator[pa.Table]:
    """The columns, all when left out, in tables of some rows; the first is empty."""
    dataset = (
        open_table(uri, version).to_pyarrow_dataset()
        if is_delta(uri)
        else parquet_dataset(uri, columns)
    )
    return scan(dataset, columns)


def scan(dataset: pads.Dataset, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """The rows of a dataset in order; an empty table first."""
    scanner = dataset.scanner(
        columns=None if columns is None else list(columns),
        batch_size=BATCH_ROWS,
        batch_readahead=READ_AHEAD,
        fragment_readahead=READ_AHEAD,
    )
    yield scanner.projected_schema.empty_table()
    try:
        for batch in scanner.to_batches():
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise InvalidInput.of(
            "dataset",
            f"holds a value that the wider type of its files cannot hold ({error}); "
            "write its files with one type",
        ) from None
