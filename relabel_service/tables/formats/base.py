"""What every format shares: the interface, the columns that bring a file back, batches of rows.

A table that was imported has two columns more than the data: `row_number`, the row's place in
the file, and, where columns cannot hold all that the file says of a row, `original`. The format's
name and what belongs to the whole file are metadata of the field `row_number`, which both parquet
and Delta keep (Delta has no metadata of a whole schema: deltalake 1.6).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tasks.boxes import CLASS, CORNERS

BATCH_ROWS = 8_192
BATCH_BYTES = 32 << 20  # of pictures and sounds; a batch holds at least one row
ROW_NUMBER, ORIGINAL = "row_number", "original"
KEY = b"relabel.format"

# A picture or sound: its bytes, or the address they lie at, as the datasets library stores them.
MEDIA = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
BOXES = pa.list_(
    pa.struct([pa.field(CLASS, pa.string()), *(pa.field(side, pa.float64()) for side in CORNERS)])
)
TAGS = pa.list_(pa.string())


@dataclass(frozen=True)
class ImportOptions:
    """How a file is read.

    media: folder or address that the names of pictures and sounds are relative to; None: the
    format's usual one. embed: bytes go into the table; otherwise their addresses do. box_format:
    what the four numbers of a box are where the file does not say, xywh or xyxy.
    control: which of a labeling tool's controls gives the labels, where there are several.
    notes: what the user should be told when all is read, with counts.
    """

    media: str | None = None
    embed: bool = True
    box_format: str = "xywh"
    control: str | None = None
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Origin:
    """Where a table's rows came from: the format's name, the names that the two columns have, and
    what belongs to the whole file (JSON values)."""

    format: str
    row_number: str = ROW_NUMBER
    original: str = ORIGINAL
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, str]:
        return (self.row_number, self.original)


class Table(Protocol):
    """A table to be written to a file."""

    @property
    def schema(self) -> pa.Schema: ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows, in order of their numbers."""

    def column(self, name: str) -> Iterator[pa.Array]:
        """The values of one column, in no order."""


class Format(Protocol):
    """One kind of file. `name` is what --format takes, `about` says in a line what it is."""

    name: str
    about: str

    def looks_like(self, path: str) -> bool:
        """Whether the file or folder is probably of this format; opens its head at most."""

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        """The rows in the file's order, a batch at a time; the schema says their origin.

        Raises InvalidInput naming the line or record that is not of the format.
        """

    def write(self, table: Table, path: str) -> None:
        """Write the file, or the folder. Raises InvalidInput where rows lack what it needs."""


def with_origin(columns: Iterable[pa.Field], origin: Origin) -> pa.Schema:
    """The columns, then the row's number, which carries the origin."""
    told = json.dumps(vars(origin), ensure_ascii=False)
    number = pa.field(origin.row_number, pa.int64(), metadata={KEY: told})
    return pa.schema([*columns, number])


def origin_of(schema: pa.Schema) -> Origin | None:
    """The origin that with_origin wrote; None for a table that no import made."""
    for column in schema:
        if told := (column.metadata or {}).get(KEY):
            return Origin(**json.loads(told))
    return None


def details_of(schema: pa.Schema, format_name: str) -> Mapping[str, Any]:
    """What belongs to the whole file, where the table came from this very format."""
    origin = origin_of(schema)
    return origin.details if origin and origin.format == format_name else {}


def own_columns(schema: pa.Schema) -> list[str]:
    """The columns that are data: all but those that an import added."""
    origin = origin_of(schema)
    added = origin.columns if origin else ()
    return [name for name in schema.names if name not in added]


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, or the first of name_1, name_2 and so on that no column has."""
    taken, number, free = set(taken), 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def in_batches(
    rows: Iterable[Mapping[str, Any]],
    schema: pa.Schema,
    *,
    num_bytes: Callable[[Mapping[str, Any]], int] = lambda row: 0,
) -> pa.RecordBatchReader:
    """Rows numbered from 0 as a stream of batches, each of BATCH_ROWS or about BATCH_BYTES.

    rows: values by column; num_bytes: how large a row is, where that varies much.
    """
    origin = origin_of(schema)
    assert origin is not None

    def batches() -> Iterator[pa.RecordBatch]:
        waiting: list[dict[str, Any]] = []
        size = 0
        for number, row in enumerate(rows):
            waiting.append({**row, origin.row_number: number})
            size += num_bytes(row)
            if len(waiting) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield pa.RecordBatch.from_pylist(waiting, schema=schema)
                waiting, size = [], 0
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def kept_rows(table: Table, format_name: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """The rows of a table, each with what `original` holds of it: None in a table that came from
    elsewhere, and of rows that were added."""
    origin = origin_of(table.schema)
    original = origin.original if origin and origin.format == format_name else ""
    for batch in table.batches():
        for row in batch.to_pylist():
            yield row, row.get(original)


def require_tokens(schema: pa.Schema, format_name: str) -> None:
    """Raises InvalidInput where a table lacks the columns of tokens, or they are not lists."""
    require(schema, format_name, "tokens", "label")
    kind = schema.field("tokens").type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise InvalidInput.of(
            "table", f"has a column tokens of {kind}; give lists of texts, a sentence a row"
        )


def no_label(meaning: str) -> InvalidInput:
    """A row whose label is null, in a format that has no words for it."""
    return InvalidInput.of(
        "table",
        f"has rows whose label is null, which in this format would say {meaning}; label them, drop "
        "them, or choose another --format (parquet, jsonl)",
    )


def require(schema: pa.Schema, format_name: str, *names: str) -> None:
    """Raises InvalidInput where a table lacks a column that the format is written from."""
    if missing := [name for name in names if name not in schema.names]:
        raise InvalidInput.of(
            "table",
            f"has no column {', '.join(missing)}, which {format_name} is written from; it has "
            f"{', '.join(schema.names)}: rename yours, or choose another --format",
        )
