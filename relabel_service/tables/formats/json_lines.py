"""JSON lines: an object a line, its keys as columns.

The file is read twice: once to learn its keys and types, once to bring them in. A line whose
columns would not give it back (a key left out, a number of another kind) is kept in `original`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
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
    origin_of,
    own_columns,
    with_origin,
)

_dumps = json.JSONEncoder(ensure_ascii=False, default=str).encode
Line = tuple[int, dict[str, Any]]  # its number in the file, from 1, and its object


class JsonLines:
    name = "jsonl"
    about = "JSON lines: an object a line"

    def looks_like(self, path: str) -> bool:
        return path.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        types, as_json = _types(path)
        origin = Origin(
            self.name,
            free_name(ROW_NUMBER, types),
            free_name(ORIGINAL, types),
            {"as_json": sorted(as_json)},
        )
        columns = [pa.field(name, kind) for name, kind in types.items()]
        schema = with_origin([*columns, pa.field(origin.original, pa.string())], origin)
        return pa.RecordBatchReader.from_batches(schema, _batches(path, schema, as_json))

    def write(self, table: Table, path: str) -> None:
        names = own_columns(table.schema)
        as_json = set(details_of(table.schema, self.name).get("as_json", ()))
        origin = origin_of(table.schema)
        is_own = origin is not None and origin.format == self.name
        kept = (
            origin.original if origin and is_own and origin.original in table.schema.names else ""
        )
        with files.created_text(path) as stream:
            for batch in table.batches():
                for row in batch.to_pylist():
                    present = {name: row[name] for name in names}
                    written = _restored(present, row.get(kept), batch.schema, as_json)
                    stream.write(_dumps(written) + "\n")


def _lines(path: str) -> Iterator[list[Line]]:
    """The file's objects, in blocks of lines."""
    block: list[Line] = []
    try:
        with files.text(path) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                block.append((number, _object(path, number, line)))
                if len(block) == BATCH_ROWS:
                    yield block
                    block = []
    except UnicodeDecodeError as error:
        raise files.not_utf8(path, error) from None
    if block:
        yield block


def _object(path: str, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # very deep, or a number of 4,300 digits
        raise InvalidInput.of(
            "path", f"line {number} of {path!r} is not JSON: {error}; fix the line"
        ) from None
    if not isinstance(value, dict):
        raise InvalidInput.of(
            "path", f"line {number} of {path!r} is not an object but {line[:60]!r}; give {{...}}"
        )
    return value


def _types(path: str) -> tuple[dict[str, pa.DataType], set[str]]:
    """Each key's type, and the keys whose values no one type holds: those become JSON texts."""
    types: dict[str, pa.DataType] = {}
    as_json: set[str] = set()
    for block in _lines(path):
        for name in dict.fromkeys(name for _, row in block for name in row):
            try:
                kind = _type_of([row.get(name) for _, row in block])
            except UnicodeEncodeError as error:
                raise InvalidInput.of(
                    "path",
                    f"{name!r} holds {error.object[:60]!r} in lines {block[0][0]} to "
                    f"{block[-1][0]} of {path!r}, with half of a character; fix the text",
                ) from None
            seen = types.get(name, pa.null())
            both = None if kind is None else _unified(seen, kind)
            if both is None:
                as_json.add(name)
            types[name] = seen if both is None else both
    whole = {name: pa.string() if name in as_json else _held(kind) for name, kind in types.items()}
    return whole, as_json


def _type_of(values: Sequence[Any]) -> pa.DataType | None:
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return None


def _unified(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    schemas = [pa.schema([pa.field("x", kind)]) for kind in (left, right)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except pa.ArrowException:
        return None


def _held(kind: pa.DataType) -> pa.DataType:
    """A type that tables have: where only null or nothing was seen, text."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_held(kind.value_type))
    if pa.types.is_struct(kind):
        inner = [pa.field(one.name, _held(one.type)) for one in kind]
        # An object that is always empty: parquet has no structs without fields.
        return pa.struct(inner or [pa.field("_", pa.string())])
    return kind


def _batches(path: str, schema: pa.Schema, as_json: set[str]) -> Iterator[pa.RecordBatch]:
    *names, _, _ = schema.names
    start = 0
    for block in _lines(path):
        rows = [row for _, row in block]
        columns = [
            _column([row.get(name) for row in rows], schema.field(name).type, name in as_json)
            for name in names
        ]
        held = pa.RecordBatch.from_arrays(columns, names=names).to_pylist()
        kept = [
            None if _dumps(_decoded(back, as_json)) == (text := _dumps(row)) else text
            for back, row in zip(held, rows, strict=True)
        ]
        numbers = pa.array(range(start, start + len(rows)), pa.int64())
        start += len(rows)
        yield pa.RecordBatch.from_arrays(
            [*columns, pa.array(kept, pa.string()), numbers], schema=schema
        )


def _column(values: list[Any], kind: pa.DataType, is_json: bool) -> pa.Array:
    if is_json:
        return pa.array([None if v is None else _dumps(v) for v in values], pa.string())
    return pa.array(values, kind)


def _restored(
    row: Mapping[str, Any], kept: str | None, schema: pa.Schema, as_json: set[str]
) -> dict[str, Any]:
    """The line's object: as it was, but for the columns whose value is another by now."""
    if kept is None:
        return _decoded(row, as_json)
    was = json.loads(kept)
    names = [name for name in row if name in schema.names]
    columns = [
        _column([was.get(name)], schema.field(name).type, name in as_json).to_pylist()[0]
        for name in names
    ]
    changed = {
        name: row[name] for name, old in zip(names, columns, strict=True) if row[name] != old
    }
    return {**was, **_decoded(changed, as_json)}


def _decoded(row: Mapping[str, Any], as_json: set[str]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in as_json and isinstance(value, str) else value
        for name, value in row.items()
    }
