"""What a table's columns are: the task, what is labelled, the label, the id.

What the user names is taken; what is left is guessed from types, names and values, in this order:
the label, the content by the label's kind, the id. A guess that could go either way is refused
with what could be meant.
"""

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.media import fetch
from relabel_service.tables.formats.base import origin_of
from relabel_service.tasks import columns, task_named
from relabel_service.tasks.boxes import CLASS, CORNERS

LABELS = (
    "label", "labels", "given_label", "human_label", "target", "class", "category", "tag", "tags",
    "ner_tags", "objects", "boxes", "sentiment", "intent", "topic", "y",
)  # fmt: skip
IDS = ("id", "uid", "uuid", "item_id", "example_id", "row_id", "key")
NOT_CONTENT = ("gold", "gold_label", "true_label", "split", "fold", "annotator", "annotators")
LEAST_COPIES = 4  # rows a class, on average, from which a text in the label column names a class
MAX_CLASSES = 1_000


class Kind(StrEnum):
    """What a content column holds."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    TOKENS = "tokens"


USUAL = {
    Kind.TEXT: (
        "text", "sentence", "review", "content", "source", "message", "body", "question",
        "comment", "tweet", "headline", "title", "prompt", "input",
    ),
    Kind.IMAGE: ("image", "img", "picture", "photo", "file_name", "path"),
    Kind.AUDIO: ("audio", "sound", "recording", "file_name", "path"),
    Kind.TOKENS: ("tokens", "words"),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The columns of an audit; None (or empty) is to be guessed.

    id: None after a guess means that the table has none, and rows are named by their number or
    their content.
    """

    task: str | None = None
    content: tuple[str, ...] = ()
    label: str | None = None
    id: str | None = None

    @property
    def in_words(self) -> str:
        content = ", ".join(map(repr, self.content))
        named = "rows named by their content" if self.id is None else f"id in {self.id!r}"
        return f"{self.task}: content in {content}, label in {self.label!r}, {named}"


def guess(table: pa.Table, given: Columns) -> Columns:
    """The columns, as given or guessed.

    table: some rows at least. Raises NotFound for a column that is not there, InvalidInput where
    nothing fits, or several columns do.
    """
    for name, option in _named(given):
        if name not in table.column_names:
            raise NotFound(
                f"there is no column {name!r}; there are {', '.join(table.column_names)}: name "
                f"one by {option}"
            )
    origin = origin_of(table.schema)
    added = origin.columns if origin else ()
    free = [name for name in table.column_names if name not in added]
    key = given.id or _id_column(table, free) or (origin.row_number if origin else None)
    left = [name for name in free if name != key and name not in given.content]
    label = given.label or _label_column(table, left)
    left = [name for name in left if name != label and name not in NOT_CONTENT]
    if given.content:
        content, kind = given.content, _kind(table[given.content[0]])
    else:
        found = _content_column(table, left, table[label], given.task)
        content, kind = (found[0],), found[1]
    task = given.task or _task(table[label], label, kind)
    return Columns(task_named(task).name, content, label, key)


def _named(given: Columns) -> list[tuple[str, str]]:
    named = [(name, "--content-column") for name in given.content]
    named += [(given.label, "--label-column")] if given.label else []
    return named + ([(given.id, "--id-column")] if given.id else [])


def _id_column(table: pa.Table, names: Sequence[str]) -> str | None:
    """The first column that is named like an id and names each row once."""
    for name in names:
        column = table[name]
        is_key = pa.types.is_integer(column.type) or _is_text(column.type)
        is_named = name.lower() in IDS or name.lower().endswith("_id")
        is_possible = is_named and is_key and not column.null_count
        if is_possible and pc.count_distinct(column).as_py() == len(column):
            return name
    return None


def _label_column(table: pa.Table, names: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in names}
    usual = [by_lower[name] for name in LABELS if name in by_lower]
    if usual:
        return usual[0]
    likely = [name for name in names if name not in NOT_CONTENT and _is_label(table[name])]
    if len(likely) == 1:
        return likely[0]
    found = f"{', '.join(likely)} could each be" if likely else "no column looks like"
    raise InvalidInput.of(
        "label", f"{found} the label, of {', '.join(names)}; name it by --label-column"
    )


def _is_label(column: pa.ChunkedArray) -> bool:
    return _has_boxes(column.type) or _names_classes(column)


def _names_classes(column: pa.ChunkedArray) -> bool:
    """Whether the column's values are few, each of several rows."""
    names = columns.class_names(column).drop_null()
    if not len(names):
        return False
    num_classes = pc.count_distinct(names).as_py()
    return bool(1 < num_classes <= MAX_CLASSES and LEAST_COPIES * num_classes <= len(names))


def _content_column(
    table: pa.Table, names: Sequence[str], label: pa.ChunkedArray, task: str | None
) -> tuple[str, Kind]:
    """The column that is labelled, and its kind: of a usual name, else the longest texts."""
    kinds = {name: kind for name in names if (kind := _kind(table[name])) is not None}
    wanted = _content_kinds(label, task)
    by_lower = {name.lower(): name for name in kinds}
    for kind in wanted:
        own = [by_lower[usual] for usual in USUAL[kind] if usual in by_lower]
        own += sorted(kinds, key=lambda name: -_length(table[name]))
        for name in own:
            if kinds[name] is kind:
                return name, kind
    raise InvalidInput.of(
        "content",
        f"no column of {', '.join(names) or 'the table'} holds {' or '.join(wanted)}; name what is "
        "labelled by --content-column, and the task by --task",
    )


def _content_kinds(label: pa.ChunkedArray, task: str | None) -> tuple[Kind, ...]:
    """The kinds that such a label may be about, the likelier first."""
    if task is not None:
        usual = {
            "text_classification": (Kind.TEXT,),
            "image_classification": (Kind.IMAGE,),
            "audio_classification": (Kind.AUDIO,),
            "token_classification": (Kind.TOKENS,),
            "object_detection": (Kind.IMAGE,),
            "sequence_generation": (Kind.TEXT, Kind.AUDIO),
        }
        return usual.get(task, (Kind.TEXT,))
    if _has_boxes(label.type):
        return (Kind.IMAGE,)
    if _is_list(label.type):
        return (Kind.TOKENS,)
    return (Kind.IMAGE, Kind.AUDIO, Kind.TEXT)


def _task(label: pa.ChunkedArray, name: str, kind: Kind | None) -> str:
    if _has_boxes(label.type):
        return "object_detection"
    if kind is Kind.TOKENS:
        return "token_classification"
    if kind is Kind.IMAGE:
        return "image_classification"
    texts = columns.strings(label).drop_null()
    num_texts = pc.count_distinct(texts).as_py()
    is_many = num_texts > MAX_CLASSES or LEAST_COPIES * num_texts > len(texts)
    if is_many and len(texts) > LEAST_COPIES**2:
        return "sequence_generation"
    if kind is Kind.AUDIO:
        return "audio_classification"
    if kind is Kind.TEXT:
        return "text_classification"
    raise InvalidInput.of("task", f"the label in {name!r} fits none; name it by --task")


def _kind(column: pa.ChunkedArray) -> Kind | None:
    """What a column holds, by its type and its first value; None for numbers and the like."""
    kind = column.type
    if _is_list(kind) and _is_text(kind.value_type):
        return Kind.TOKENS
    first = next((value for value in column.slice(0, 64).to_pylist() if value is not None), None)
    if isinstance(first, dict) and {"bytes", "path"} <= set(first):
        first = first["bytes"] or first["path"]
    if isinstance(first, bytes):
        return _kind_of_bytes(first)
    if not isinstance(first, str) or not first:
        return None
    if first.startswith(fetch.DATA):
        guessed = first.removeprefix(fetch.DATA)
    else:
        guessed = "" if any(map(str.isspace, first)) else mimetypes.guess_type(first)[0] or ""
    for found in (Kind.IMAGE, Kind.AUDIO):
        if guessed.startswith(f"{found}/"):
            return found
    return Kind.TEXT if _is_text(kind) else None


def _kind_of_bytes(data: bytes) -> Kind | None:
    """By the first bytes, as file formats have them."""
    if data[:4] in (b"fLaC", b"OggS", b"FORM") or data[:3] == b"ID3":
        return Kind.AUDIO
    if data[:4] == b"RIFF":
        return Kind.IMAGE if data[8:12] == b"WEBP" else Kind.AUDIO
    if data[:2] in (b"\xff\xfb", b"\xff\xf3"):
        return Kind.AUDIO
    return Kind.IMAGE


def _has_boxes(kind: pa.DataType) -> bool:
    if not _is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    fields = {kind.value_type.field(number).name for number in range(kind.value_type.num_fields)}
    return {CLASS, *CORNERS} <= fields


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _length(column: pa.ChunkedArray) -> float:
    """Mean characters of a column of texts; 0 for another."""
    return float(pc.mean(pc.utf8_length(columns.strings(column))).as_py() or 0.0)
