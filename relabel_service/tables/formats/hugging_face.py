"""Parquet of the datasets library: its features say what the columns mean.

Class numbers become names (alone, and in lists of tags), and `objects`, with its boxes and
categories, becomes boxes; pictures and sounds are read as they are. Export turns all of it back
into the file's own types and numbers. Refuses to run anybody's loading script.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tables.formats import boxes, parquet
from relabel_service.tables.formats.base import (
    BOXES,
    ORIGINAL,
    ROW_NUMBER,
    ImportOptions,
    Origin,
    Table,
    details_of,
    free_name,
    origin_of,
    with_origin,
)
from relabel_service.tasks.boxes import Box

METADATA = b"huggingface"
BBOX = "bbox"
CATEGORIES = ("category", "categories", "category_id", "label", "labels", "class", "name")
UNLABELLED = -1
IGNORED = -100  # torch's ignore_index: a word piece that has no label of its own
Json = dict[str, Any]


class Column(Protocol):
    """A column whose values mean something by the features. type: what the table holds."""

    type: pa.DataType
    keeps_original: bool

    def decode(self, values: pa.Array) -> pa.Array:
        """The file's values as the table holds them. Raises InvalidInput."""

    def encode(self, values: pa.Array, kept: pa.Array | None) -> pa.Array:
        """decode's inverse; kept: the file's own values, where the table has them."""


class HuggingFace:
    name = "huggingface"
    about = "parquet of the datasets library, by its features; hf:// addresses too"

    def looks_like(self, path: str) -> bool:
        if path.startswith(files.HUGGING_FACE):
            return True
        found = parquet.parquet_files(path) if parquet.may_be(path) else []
        return bool(found) and METADATA in (parquet.opened(found[0]).schema_arrow.metadata or {})

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        names = parquet.require_files(path)
        schema = parquet.common_schema(names)
        details = {
            "schema": parquet.packed(schema),
            "files": parquet.file_rows(path, names),
            "box_format": options.box_format,
            "unlabelled": _unlabelled(names, schema),
        }
        columns = _columns(schema, details)
        held = _held_schema(schema, columns, details)
        return pa.RecordBatchReader.from_batches(held, _decoded(names, schema, columns, held))

    def write(self, table: Table, path: str) -> None:
        details = details_of(table.schema, self.name)
        schema = parquet.target_schema(table.schema, details)
        columns = _columns(schema, details)
        schema = _with_new_classes(schema, columns, table)
        origin = origin_of(table.schema)
        original = origin.original if origin and details else ""
        with parquet.created_series(path, schema, details.get("files", ())) as out:
            for batch in table.batches():
                kept = batch[original] if original in batch.schema.names else None
                arrays = [_encoded(batch, one, columns.get(one.name), kept) for one in schema]
                out.write(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _held_schema(schema: pa.Schema, columns: Mapping[str, Column], details: Json) -> pa.Schema:
    """What the table holds: columns by their meaning, and the boxes' own values beside them."""
    fields = [
        pa.field(one.name, columns[one.name].type if one.name in columns else one.type)
        for one in parquet.held_fields(schema)
    ]
    kept = [one for one in parquet.held_fields(schema) if _keeps(columns.get(one.name))]
    original = free_name(ORIGINAL, schema.names)
    if kept:
        fields.append(pa.field(original, pa.struct(kept)))
    number = free_name(ROW_NUMBER, schema.names)
    return with_origin(fields, Origin(HuggingFace.name, number, original, details))


def _keeps(column: Column | None) -> bool:
    return column is not None and column.keeps_original


def _decoded(
    names: Sequence[str], schema: pa.Schema, columns: Mapping[str, Column], held: pa.Schema
) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in parquet.stream(names):
        values = {
            one.name: parquet.cast(one.name, batch[one.name], one.type)
            for one in parquet.held_fields(schema)
        }
        arrays = [
            columns[name].decode(array) if name in columns else array
            for name, array in values.items()
        ]
        if kept := [name for name in values if _keeps(columns.get(name))]:
            arrays.append(pa.StructArray.from_arrays([values[name] for name in kept], names=kept))
        arrays.append(pa.array(range(start, start + batch.num_rows), pa.int64()))
        start += batch.num_rows
        yield pa.RecordBatch.from_arrays(arrays, schema=held)


def _encoded(
    batch: pa.RecordBatch, target: pa.Field, column: Column | None, kept: pa.Array | None
) -> pa.Array:
    values = batch[target.name]
    if column:
        own = kept.field(target.name) if kept is not None and column.keeps_original else None
        values = column.encode(values, own)
    return parquet.cast(target.name, values, target.type)


def _features(schema: pa.Schema) -> Json:
    told = (schema.metadata or {}).get(METADATA)
    if not told:
        return {}
    try:
        found: Json = json.loads(told)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        raise _no_features() from None
    if not isinstance(found, dict):
        raise _no_features()
    return found


def _no_features() -> InvalidInput:
    return InvalidInput.of(
        "path", "the file's huggingface metadata names no features; import it as parquet"
    )


def _columns(schema: pa.Schema, details: Mapping[str, Any]) -> dict[str, Column]:
    """The columns that mean more than they hold."""
    features = _features(schema)
    found: dict[str, Column] = {}
    for one in schema:
        feature = features.get(one.name)
        names = _class_names(feature)
        if names is not None:
            is_list = _is_list(one.type)
            kind = one.type.value_type if is_list else one.type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise InvalidInput.of(
                    "path",
                    f"column {one.name!r} is of {one.type}, and its feature of class numbers; "
                    "import it as parquet (--format), or fix the features",
                )
            missing = None
            if is_list or one.name in details.get("unlabelled", ()):
                missing = UNLABELLED
            found[one.name] = Classes(names, is_list=is_list, missing=missing)
        elif layout := _box_layout(one.type, feature):
            found[one.name] = Objects(layout, details.get("box_format", "xywh"), one.type)
    return found


def _class_names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel, or of a list of them."""
    inner = _inner(feature)
    if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
        names = list(inner.get("names") or map(str, range(inner.get("num_classes", 0))))
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InvalidInput.of(
                "path",
                f"the features name the class {repeated[0]!r} twice, so that its numbers could not "
                "be told apart; give each class a name of its own",
            )
        return names
    return None


def _inner(feature: Any) -> Any:
    """A list's element: {"feature": ..., "_type": "Sequence" or "List"}, or [...]."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    if isinstance(feature, dict) and "feature" in feature:
        return feature["feature"]
    return feature


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _unlabelled(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """Class columns where -1 stands for no label, as the library writes: those without nulls."""
    wanted = [
        number
        for number, one in enumerate(schema)
        if _class_names(_features(schema).get(one.name)) is not None and not _is_list(one.type)
    ]
    without = []
    for number in wanted:
        groups = [
            meta.row_group(group).column(_leaf(meta, schema.field(number).name)).statistics
            for meta in (parquet.opened(name).metadata for name in names)
            for group in range(meta.num_row_groups)
        ]
        if all(found is not None and found.null_count == 0 for found in groups):
            without.append(schema.field(number).name)
    return without


def _leaf(metadata: Any, name: str) -> int:
    """The number of a column of plain values among all of the file's leaves."""
    leaves = (metadata.schema.column(number).path for number in range(metadata.num_columns))
    return next(number for number, path in enumerate(leaves) if path == name)


def _beyond(number: int, names: Sequence[str]) -> InvalidInput:
    if number == IGNORED:
        return InvalidInput.of(
            "path",
            f"a class column holds {IGNORED}, which marks word pieces without a label of their "
            "own: the data was tokenized for one model; import it as it was before, a tag a word",
        )
    return InvalidInput.of(
        "path",
        f"a class column holds {number}, and its features name {len(names)} classes from 0 on; fix "
        "the features or the column",
    )


class Classes:
    """Class numbers, alone or in lists, as names. missing: the number of no label, or None."""

    keeps_original = False

    def __init__(self, names: list[str], *, is_list: bool, missing: int | None) -> None:
        self.names, self._is_list, self._missing = names, is_list, missing
        self.type = pa.list_(pa.string()) if is_list else pa.string()

    def decode(self, values: pa.Array) -> pa.Array:
        numbers = values.flatten() if self._is_list else values
        found = pc.if_else(pc.equal(numbers, UNLABELLED), None, numbers)
        highest, lowest = pc.max(found).as_py(), pc.min(found).as_py()
        if highest is not None and not 0 <= lowest <= highest < len(self.names):
            strange = highest if highest >= len(self.names) else lowest
            raise _beyond(strange, self.names)
        texts = pa.array(self.names, pa.string()).take(found.cast(pa.int64()))
        return _in_lists(values, texts) if self._is_list else texts

    def see(self, values: pa.Array) -> None:
        """Learn names that the features lack."""
        flat = values.flatten() if self._is_list else values
        for name in pc.unique(flat.cast(pa.string())).to_pylist():
            if name is not None and name not in self.names:
                self.names.append(name)

    def encode(self, values: pa.Array, kept: pa.Array | None) -> pa.Array:
        texts = values.flatten() if self._is_list else values
        numbers = pc.index_in(texts.cast(pa.string()), pa.array(self.names, pa.string()))
        numbers = numbers.cast(pa.int64())
        if self._missing is not None:
            numbers = pc.fill_null(numbers, self._missing)
        return _in_lists(values, numbers) if self._is_list else numbers


def _in_lists(lists: pa.Array, flat: pa.Array) -> pa.Array:
    """The lists with other elements: values.flatten() leaves out what null lists cover."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int32())
    ends = pc.cumulative_sum(lengths).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, flat, mask=pc.is_null(lists))


@dataclass(frozen=True)
class BoxLayout:
    """category: the field of the class; names: of its numbers, None where it is text already;
    is_columns: a dict of lists, as against a list of dicts."""

    category: str
    names: list[str] | None
    is_columns: bool


def _box_layout(kind: pa.DataType, feature: Any) -> BoxLayout | None:
    """How a column holds boxes; None where it does not."""
    is_columns = pa.types.is_struct(kind)
    one = kind if is_columns else kind.value_type if _is_list(kind) else kind
    if not pa.types.is_struct(one):
        return None
    fields = [one.field(number).name for number in range(one.num_fields)]
    category = next((name for name in CATEGORIES if name in fields), None)
    if BBOX not in fields or category is None:
        return None
    if is_columns and not _is_list(one.field(BBOX).type):
        return None
    inner = _inner(feature)
    names = _class_names(inner.get(category)) if isinstance(inner, dict) else None
    return BoxLayout(category, names, is_columns)


class Objects:
    """Boxes as a dict of lists or a list of dicts, with bbox and a category among their fields."""

    keeps_original = True
    type = BOXES

    def __init__(self, layout: BoxLayout, box_format: str, own_type: pa.DataType) -> None:
        self.layout, self._is_corners = layout, box_format == "xyxy"
        self._own_type = parquet.held_type(own_type)
        self.names = layout.names
        one = self._own_type if layout.is_columns else self._own_type.value_type
        self._has_area = one.get_field_index("area") >= 0

    def decode(self, values: pa.Array) -> pa.Array:
        rows = [
            None if row is None else boxes.to_row(map(self._box, self._records(row)))
            for row in values.to_pylist()
        ]
        return pa.array(rows, BOXES)

    def see(self, values: pa.Array) -> None:
        """Learn names that the features lack."""
        for name in pc.unique(pc.struct_field(values.flatten(), "label")).to_pylist():
            if self.names is not None and name and name not in self.names:
                self.names.append(name)

    def encode(self, values: pa.Array, kept: pa.Array | None) -> pa.Array:
        were = kept.to_pylist() if kept is not None else [None] * len(values)
        rows = [self._row(now, was) for now, was in zip(values.to_pylist(), were, strict=True)]
        return pa.array(rows, self._own_type)

    def _row(self, now: Any, was: Any) -> Any:
        if now is None:
            return None
        records = self._records(was or ())
        paired = boxes.pair(list(map(self._box, records)), boxes.from_row(now))
        written = [self._record(one, records) for one in paired]
        if not self.layout.is_columns:
            return written
        names = [self._own_type.field(i).name for i in range(self._own_type.num_fields)]
        return {name: [record.get(name) for record in written] for name in names}

    def _records(self, row: Any) -> list[Json]:
        """The boxes of a row, each with its fields."""
        if not self.layout.is_columns:
            return list(row)
        if not row:
            return []
        lists = {name: values for name, values in row.items() if isinstance(values, list)}
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput.of(
                "path", f"a row's boxes have fields of differing numbers, {lengths}; fix the row"
            )
        return [
            dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)
        ]

    def _box(self, record: Json) -> Box:
        try:
            left, top, right, bottom = map(float, record[BBOX])
        except (TypeError, ValueError):
            raise InvalidInput.of(
                "path", f"a box is {record[BBOX]!r}; give four numbers, or drop it from its row"
            ) from None
        if not self._is_corners:
            right, bottom = left + right, top + bottom
        return Box(self._name(record[self.layout.category]), left, top, right, bottom)

    def _name(self, category: Any) -> str:
        if category is None or (self.names is not None and category == UNLABELLED):
            return ""  # which is no class, so that the row is told as invalid
        if self.names is None:
            return str(category)
        if not 0 <= category < len(self.names):
            raise _beyond(category, self.names)
        return str(self.names[category])

    def _record(self, paired: boxes.Paired, records: Sequence[Json]) -> Json:
        record = dict(records[paired.was]) if paired.was is not None else {}
        if paired.renamed:
            name = paired.box.class_name
            record[self.layout.category] = self._category(name)
        if paired.moved:
            box = paired.box
            width, height = box.x_max - box.x_min, box.y_max - box.y_min
            sides = [box.x_max, box.y_max] if self._is_corners else [width, height]
            record[BBOX] = [round(side, 2) for side in (box.x_min, box.y_min, *sides)]
            if "area" in record or (paired.was is None and self._has_area):
                record["area"] = round(width * height)
        return record

    def _category(self, name: str) -> Any:
        if self.names is not None:
            return self.names.index(name)
        kind = self._field_type(self.layout.category)
        return int(name) if pa.types.is_integer(kind) else name

    def _field_type(self, name: str) -> pa.DataType:
        one = self._own_type if self.layout.is_columns else self._own_type.value_type
        kind = one.field(name).type
        return kind.value_type if self.layout.is_columns else kind


def _with_new_classes(schema: pa.Schema, columns: Mapping[str, Column], table: Table) -> pa.Schema:
    """The schema whose features name every class of the table, new ones last."""
    metadata = dict(schema.metadata or {})
    if METADATA not in metadata:
        return schema
    told = json.loads(metadata[METADATA])
    for name, column in columns.items():
        if isinstance(column, Classes | Objects) and column.names is not None:
            for values in table.column(name):
                column.see(values)
            feature = told["info"]["features"][name]
            if isinstance(column, Objects):
                feature = _inner(feature)[column.layout.category]
            _set_names(feature, column.names)
    metadata[METADATA] = json.dumps(told, ensure_ascii=False).encode()
    return schema.with_metadata(metadata)


def _set_names(feature: Any, names: list[str]) -> None:
    """Put the names into the ClassLabel of the feature, wherever in it that is."""
    if isinstance(feature, list):
        for one in feature:
            _set_names(one, names)
    elif isinstance(feature, dict):
        if feature.get("_type") == "ClassLabel":
            feature["names"] = names
        else:
            for one in feature.values():
                _set_names(one, names)
