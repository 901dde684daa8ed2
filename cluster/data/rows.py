"""Data in: a user's parquet or Delta table as rows {id, content, label}, invalid ones marked.

Owns the way from the user's columns to text forms and back to nothing else; it
refuses to guess a column or to drop a row in silence: a row that breaks the
task's schema keeps its place and carries its fault.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.folds import NO_KEYS, IdKeys, id_keys
from cluster.engine.base import Batches, Engine
from cluster.io.tables import column_names, column_type
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.media import prefixes
from relabel_service.tables import preflight
from relabel_service.tables.delta import is_delta, open_table
from relabel_service.tables.row_ids import check_id_type, row_ids
from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task

_Row = TypeVar("_Row", bound=Mapping[str, Any])

ID_BYTES = 16
MAX_ROW_TEXT = 2_000  # characters of a quarantined row kept for the person who repairs it

# A row of any task; fault says why a row is invalid, and row is its text form; null where valid.
# weight: how much the row counts in training, 0 or more; 1 for all where nothing says otherwise.
ROWS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("content", pa.string()),
        pa.field("label", pa.string()),
        pa.field("weight", pa.float64()),
        pa.field("fault", pa.string()),
        pa.field("row", pa.string()),
    ]
)


@dataclass(frozen=True)
class Source:
    """A data set and the user's names for its columns.

    uri: parquet (file, folder) or Delta table; local path or object-store URL.
    version: Delta version to read, None for parquet; latest() pins it.
    id_column: None makes ids from the content.
    weight_column: how much each row counts in training; null counts as 1.
    media_prefixes: folders and stores, beside the table's own, under which addresses in rows
    may be opened.
    """

    uri: str
    task: str
    content_columns: tuple[str, ...]
    label_column: str
    id_column: str | None = None
    version: int | None = None
    weight_column: str | None = None
    media_prefixes: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Source":
        """The source that `asdict` and JSON have made of one, of an earlier release too."""
        many = ("content_columns", "media_prefixes")
        return cls(**{**fields, **{name: tuple(fields.get(name, ())) for name in many}})

    @property
    def opened_under(self) -> tuple[str, ...]:
        """Where addresses in rows are opened: near the table, and under the stated prefixes."""
        return (*prefixes.of_table(self.uri), *self.media_prefixes)

    @property
    def columns(self) -> list[str]:
        given = [self.id_column, *self.content_columns, self.label_column, self.weight_column]
        return list(dict.fromkeys(name for name in given if name))

    def option_of(self, column: str, label_option: str) -> str:
        """The command-line option that names one of the columns."""
        options = {self.weight_column: "--weight-column", self.label_column: label_option}
        options |= dict.fromkeys(self.content_columns, "--content-column")
        return (options | {self.id_column: "--id-column"})[column]

    @property
    def is_delta(self) -> bool:
        return is_delta(self.uri)


def latest(source: Source, *, label_option: str = "--label-column") -> Source:
    """The source pinned to the version of this moment, its columns checked.

    label_option: what names the label column, for the error.
    Raises NotFound when there is no such table, version or column, InvalidInput when the table
    uses a Delta feature that cannot be read, the content columns are not the task's, or the id
    column is of a type that names no rows.
    """
    _check_content_columns(source)
    if source.is_delta:
        table = open_table(source.uri, source.version)
        preflight.require_readable(table, source.uri)
        source = replace(source, version=table.version())
    elif source.version is not None:
        raise InvalidInput.of(
            "version", f"{source.version} given, but {source.uri!r} is no Delta table"
        )
    present = column_names(source.uri, source.version)
    if missing := [name for name in source.columns if name not in present]:
        raise NotFound(
            f"{source.uri!r} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(present)}: name its own with "
            + ", ".join(dict.fromkeys(source.option_of(name, label_option) for name in missing))
        )
    if source.id_column:
        kind = column_type(source.uri, source.id_column, source.version)
        check_id_type(source.id_column, kind)
    return source


def require_mergeable(source: Source) -> Source:
    """The pinned source itself, unless it is a Delta table that takes no labels people decide.

    Raises InvalidInput saying what stops a merge. Parquet passes: it may be copied into Delta yet.
    """
    if source.is_delta:
        preflight.require_writable(
            open_table(source.uri), source.uri, label_column=source.label_column
        )
    return source


def _check_content_columns(source: Source) -> None:
    """Raises InvalidInput when they are not as many as the task reads."""
    given, usual = source.content_columns, task_named(source.task).content_columns
    if not given:
        raise InvalidInput.of(
            "content_columns", f"are not given, and {source.task} has no usual ones; name them"
        )
    if usual and len(given) != len(usual):
        raise InvalidInput.of(
            "content_columns",
            f"{', '.join(given)} are {len(given)}, and {source.task} reads {len(usual)}; "
            "give --content-column once, or join the columns into one",
        )


def read(engine: Engine, source: Source, *, extra: Iterable[str] = ()) -> Batches:
    """The user's own columns, and `extra` ones, of a pinned source."""
    columns = [*source.columns, *(name for name in extra if name not in source.columns)]
    return engine.read(source.uri, columns, version=source.version)


def rows(
    engine: Engine,
    source: Source,
    *,
    classes: Iterable[str] = (),
    repeated: IdKeys = NO_KEYS,
) -> Batches:
    """ROWS of a pinned source: as many as the table holds.

    classes: labels allowed; any when empty. repeated: keys of ids known to be used
    more than once (TableProfile.repeated); of each, one row is kept and the others get a fault.
    """
    checked = read(engine, source).map(partial(check, source=source, classes=tuple(classes)))
    if not repeated.size:
        return checked
    alone = checked.map(partial(_keep, keys=repeated, inside=False))
    copies = checked.map(partial(_keep, keys=repeated, inside=True))
    return alone.union(copies.map_all(_keep_one_of_each_id))


def check(batch: pa.Table, *, source: Source, classes: tuple[str, ...] = ()) -> pa.Table:
    """The user's rows as ROWS, one for one.

    Whole columns first; what is not plainly valid there is read row by row, which finds the fault.
    """
    checked = _check_columns(batch, source, classes)
    is_left = checked["content"].is_null()
    left = check_each(batch.filter(is_left), source=source, classes=classes)
    if not left.num_rows:
        return checked
    index = np.arange(len(batch))
    index[is_left.to_numpy()] = len(batch) + np.arange(left.num_rows)
    return pa.concat_tables([checked, left]).take(index)


def check_each(batch: pa.Table, *, source: Source, classes: tuple[str, ...] = ()) -> pa.Table:
    """As check, row by row."""
    task = task_named(source.task)
    names = row_ids(batch[source.id_column]) if source.id_column else pa.nulls(len(batch))
    with prefixes.only_under(source.opened_under):
        found = [
            _check_row(row, name, source, task, classes)
            for row, name in zip(batch.to_pylist(), names.to_pylist(), strict=True)
        ]
    return pa.Table.from_pylist(found, schema=ROWS)


def content_id(content: str) -> str:
    """Stable id of a row that has none: 128 bits of the content's SHA-256, in hex."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[: 2 * ID_BYTES]


def _check_columns(batch: pa.Table, source: Source, classes: tuple[str, ...]) -> pa.Table:
    """ROWS, all null where a row is not plainly valid."""
    task = task_named(source.task)
    contents = {name: batch[name] for name in source.content_columns}
    read = task.read_columns(contents, batch[source.label_column])
    if read is None:
        return _nulls(len(batch))
    content, label = read
    columns = {
        "id": row_ids(batch[source.id_column]) if source.id_column else _content_ids(content),
        "content": content,
        "label": label,
        "weight": _weights(batch[source.weight_column])
        if source.weight_column
        else pa.chunked_array([np.ones(len(batch))]),
    }
    names = label.unique().drop_null()
    sound = [task.label_fault(name, classes) is None for name in names.to_pylist()]
    is_valid = pc.is_in(label, value_set=names.filter(pa.array(sound, pa.bool_())))
    for column in columns.values():
        is_valid = pc.and_(is_valid, column.is_valid())
    found = [
        pc.if_else(is_valid, columns[field.name], pa.scalar(None, field.type))
        if field.name in columns
        else pa.nulls(len(batch), field.type)
        for field in ROWS
    ]
    return pa.Table.from_arrays(found, schema=ROWS)


def _nulls(num_rows: int) -> pa.Table:
    return pa.Table.from_arrays([pa.nulls(num_rows, field.type) for field in ROWS], schema=ROWS)


def _content_ids(contents: pa.ChunkedArray) -> pa.ChunkedArray:
    ids = [None if content is None else content_id(content) for content in contents.to_pylist()]
    return pa.chunked_array([pa.array(ids, pa.string())])


def _weights(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The weights of a column of numbers, 1 for null; null where it holds no weight."""
    if not (pa.types.is_integer(column.type) or pa.types.is_float64(column.type)):
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])
    found = pc.fill_null(column.cast(pa.float64(), safe=False), 1.0)
    is_weight = pc.and_(pc.greater_equal(found, 0.0), pc.less(found, math.inf))
    return pc.if_else(is_weight, found, pa.scalar(None, pa.float64()))


def _check_row(
    row: Mapping[str, Any], name: str | None, source: Source, task: Task, classes: tuple[str, ...]
) -> dict[str, Any]:
    try:
        content = task.read_content({column: row[column] for column in source.content_columns})
        if source.id_column and not name:
            raise InvalidInput.of(source.id_column, "is null or empty; give each row an id")
        label = task.read_label(row[source.label_column], content)
        if fault := task.label_fault(label, classes):
            raise InvalidInput.of(source.label_column, fault)
        weight = _weight(source.weight_column, row)
    except InvalidInput as fault:
        text = json.dumps(row, default=repr, ensure_ascii=False)[:MAX_ROW_TEXT]
        return {"id": name or content_id(text), "fault": str(fault), "row": text}
    return {
        "id": name or content_id(content),
        "content": content,
        "label": label,
        "weight": weight,
    }


def _weight(column: str | None, row: Mapping[str, Any]) -> float:
    value = row[column] if column else None
    if column is None or value is None:
        return 1.0
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidInput.of(
            column, f"{value!r} is no weight; give a number of 0 or more, or null"
        )
    return float(value)


def _keep(batch: pa.Table, *, keys: IdKeys, inside: bool) -> pa.Table:
    """The rows whose ids' keys are inside, or are not. An id that only shares a key is unharmed."""
    return batch.filter(pa.array(np.isin(id_keys(batch["id"]), keys, invert=not inside)))


def _keep_one_of_each_id(copies: pa.Table) -> pa.Table:
    """One valid row of those that share an id, the same one whatever their order."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in copies.to_pylist():
        groups.setdefault(row["id"], []).append(row)
    kept = [row for group in groups.values() for row in _with_faults(group)]
    return pa.Table.from_pylist(kept, schema=ROWS)


def kept_of_copies(copies: Sequence[_Row]) -> _Row:
    """The row that is kept of those that share an id, of which one at least is valid."""
    return min(copies, key=_order)


def _order(row: Mapping[str, Any]) -> list[str]:
    return [row[name] or "" for name in ("fault", "label", "content")]


def _with_faults(copies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    copies = sorted(copies, key=_order)
    for row in copies[1:]:
        if not row["fault"]:
            row["fault"] = (
                f"id: {row['id']!r} is used by {len(copies)} rows, of which one is kept; "
                "make ids unique, or remove copies"
            )
            row["row"] = json.dumps(
                {"content": row["content"], "label": row["label"]}, ensure_ascii=False
            )[:MAX_ROW_TEXT]
            row["content"] = row["label"] = row["weight"] = None
    return copies
