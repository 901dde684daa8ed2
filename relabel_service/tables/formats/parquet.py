"""Parquet files and folders of them, as they are; with the types that Delta lacks written back.

Owns the way from a file's Arrow types to those that both parquet and Delta hold, and back.
hugging_face.py adds what the datasets library's features mean.
"""

import base64
import fnmatch
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import files
from relabel_service.tables.formats.base import (
    BATCH_ROWS,
    ORIGINAL,
    ROW_NUMBER,
    ImportOptions,
    Origin,
    Table,
    details_of,
    free_name,
    own_columns,
    with_origin,
)
from relabel_service.tables.parquet import require_distinct

SUFFIX = ".parquet"
SPLIT = re.compile(r"(?:^|/)(train|test|validation|valid|val|dev)(?=[-_./]|$)")
SIMPLE = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.null(): pa.string(),
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
}  # fmt: skip


class Parquet:
    name = "parquet"
    about = "parquet, a file or a folder of them, as it is"

    def looks_like(self, path: str) -> bool:
        return bool(parquet_files(path)) if may_be(path) else False

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        names = require_files(path)
        schema = common_schema(names)
        details = {"schema": packed(schema), "files": file_rows(path, names)}
        number = free_name(ROW_NUMBER, schema.names)
        unused = free_name(ORIGINAL, schema.names)  # not the name of a column of the file's
        held = with_origin(held_fields(schema), Origin(self.name, number, unused, details))

        def batches() -> Iterator[pa.RecordBatch]:
            start = 0
            for batch in stream(names):
                columns = [cast(name, batch[name], held.field(name).type) for name in schema.names]
                numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
                start += batch.num_rows
                yield pa.RecordBatch.from_arrays([*columns, numbers], schema=held)

        return pa.RecordBatchReader.from_batches(held, batches())

    def write(self, table: Table, path: str) -> None:
        details = details_of(table.schema, self.name)
        schema = target_schema(table.schema, details)

        with created_series(path, schema, details.get("files", ())) as out:
            for batch in table.batches():
                columns = [cast(field.name, batch[field.name], field.type) for field in schema]
                out.write(pa.RecordBatch.from_arrays(columns, schema=schema))


def parquet_files(path: str) -> list[str]:
    """The parquet files that a path means: a file, those below a folder, or a pattern with *."""
    if "*" in path:
        folder = path.partition("*")[0].rpartition("/")[0] or "."
        pattern = path.removeprefix(folder).lstrip("/")
        found = files.names_under(folder, SUFFIX)
        return [files.join(folder, name) for name in found if fnmatch.fnmatch(name, pattern)]
    if files.is_file(path):
        return [path]
    return [
        files.join(path, name)
        for name in files.names_under(path, SUFFIX)
        if not any(part.startswith(("_", ".")) for part in name.split("/"))
    ]


def require_files(path: str) -> list[str]:
    """As parquet_files. Raises NotFound without any, InvalidInput where they are of two splits."""
    names = parquet_files(path)
    if not names:
        raise NotFound(f"there are no parquet files at {path!r}; check the path")
    refuse_splits(path, [name[len(path) :] for name in names], example="**/train-*.parquet")
    return names


def refuse_splits(path: str, names: Sequence[str], *, example: str) -> None:
    """Raises InvalidInput where the files below a folder are of several splits."""
    splits = {match[1] for name in names if (match := SPLIT.search(name))}
    if len(splits) > 1:
        raise InvalidInput.of(
            "path",
            f"{path!r} holds the splits {', '.join(sorted(splits))}; import one at a time, for "
            f"example {files.join(path, example)!r}",
        )


def opened(name: str) -> pq.ParquetFile:
    system, inside = files.filesystem(name)
    try:
        with files.reached(name):
            return pq.ParquetFile(system.open_input_file(inside))
    except pa.ArrowInvalid as error:
        raise InvalidInput.of(
            "path", f"{name!r} is not parquet ({error}); check the file"
        ) from None


def common_schema(names: Sequence[str]) -> pa.Schema:
    """The one schema of the files. Raises InvalidInput naming two files that differ."""
    first = opened(names[0]).schema_arrow
    require_distinct(names[0], first, first.names)
    for name in names[1:]:
        other = opened(name).schema_arrow
        if not other.equals(first):
            differing = [
                field.name
                for field in (*first, *other)
                if field.name not in first.names
                or field.name not in other.names
                or not first.field(field.name).equals(other.field(field.name))
            ]
            raise InvalidInput.of(
                "path",
                f"{name!r} and {names[0]!r} differ in {', '.join(dict.fromkeys(differing))}; "
                "import files of one schema",
            )
    return first


def file_rows(path: str, names: Sequence[str]) -> list[tuple[str, int]]:
    """Each file's name below the path, and its rows; empty for a single file."""
    if len(names) == 1:
        return []
    folder = path.partition("*")[0].rpartition("/")[0] if "*" in path else path.rstrip("/")
    return [(name[len(folder) :].lstrip("/"), opened(name).metadata.num_rows) for name in names]


def stream(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for name in names:
        # Row groups are decoded one at a time; without pre_buffer, memory stays flat.
        yield from opened(name).iter_batches(BATCH_ROWS)


def held_type(kind: pa.DataType) -> pa.DataType:
    """The nearest type that parquet and Delta both hold."""
    if isinstance(kind, pa.BaseExtensionType):
        return held_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return held_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return pa.int64() if kind.bit_width == 64 else pa.int32()
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, held_type(one.type)) for one in kind])
    if pa.types.is_map(kind):
        return pa.map_(held_type(kind.key_type), held_type(kind.item_type))
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_list or pa.types.is_fixed_size_list(kind):
        return pa.list_(held_type(kind.value_type))
    return SIMPLE.get(kind, kind)


def held_fields(schema: pa.Schema) -> list[pa.Field]:
    return [pa.field(field.name, held_type(field.type)) for field in schema]


def cast(name: str, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values in another type that holds the same. Raises InvalidInput where one would change."""
    if values.type == kind:
        return values
    try:
        if pa.types.is_null(kind) and values.null_count == len(values):
            return pa.nulls(len(values))  # Arrow casts nothing to it
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        if isinstance(kind, pa.BaseExtensionType):
            return kind.wrap_array(cast(name, values, kind.storage_type))
        try:
            return values.cast(kind)
        except pa.ArrowNotImplementedError:  # nothing to null, within a struct: the paths of MEDIA
            return pa.array(values.to_pylist(), kind)
    except pa.ArrowException as error:
        raise InvalidInput.of(
            "table", f"column {name!r} of {values.type} cannot be held as {kind}: {error}"
        ) from None


def packed(schema: pa.Schema) -> str:
    """A schema as text, for the origin."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def unpacked(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def target_schema(table: pa.Schema, details: Any) -> pa.Schema:
    """What a table is written as: the file's own types for the columns that it had."""
    was = unpacked(details["schema"]) if "schema" in details else pa.schema([])
    fields = [
        was.field(name) if name in was.names else table.field(name).remove_metadata()
        for name in own_columns(table)
    ]
    return pa.schema(fields, metadata=was.metadata)


class _Sink(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...


@contextmanager
def created_series(
    path: str, schema: pa.Schema, series: Sequence[tuple[str, int]]
) -> Iterator["FileSeries"]:
    """What writes one new file, or a new folder's files where the rows came from several. series:
    name below the folder and rows of each."""
    with ExitStack() as stack:
        places = [(path, 0)]
        if series:
            folder = stack.enter_context(files.created_folder(path))
            places = [(files.inside(folder, name), rows) for name, rows in series]
        yield stack.enter_context(FileSeries(places, schema))


class FileSeries:
    """Parquet written to files one after the other.

    series: address and rows of each; what goes beyond them all belongs to the last.
    """

    def __init__(self, series: Sequence[tuple[str, int]], schema: pa.Schema) -> None:
        self._left, self._schema = list(series), schema
        self._open = ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._room = 0

    def __enter__(self) -> "FileSeries":
        self._next()
        return self

    def __exit__(self, *error: Any) -> None:
        while self._left and not error[0]:
            self._next()
        self._open.__exit__(*error)

    def write(self, batch: pa.RecordBatch) -> None:
        while self._left and batch.num_rows > self._room:
            fits, batch = batch.slice(0, self._room), batch.slice(self._room)
            self._write(fits)
            self._next()
        self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._writer is not None
        if batch.num_rows:
            self._writer.write_batch(batch)
        self._room -= batch.num_rows

    def _next(self) -> None:
        self._open.close()
        name, self._room = self._left.pop(0)
        stream = self._open.enter_context(files.created(name))
        self._writer = self._open.enter_context(pq.ParquetWriter(stream, self._schema))


def may_be(path: str) -> bool:
    return path.endswith(SUFFIX) or "*" in path or files.is_folder(path)
