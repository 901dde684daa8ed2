"""CSV: columns as the header names them, of numbers only where every text comes back from them.

The file is read twice: once to learn what its columns hold, once to bring them in. Text stays
text ("007", "NA", "1.10" beside "1.2"): a number that would be written otherwise is not one.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tables.formats.base import (
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

DELIMITERS = ",;\t|"
MARK = "\ufeff"
WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"
DECIMAL = r"^-?(0|[1-9][0-9]*)\.[0-9]+$"
BLOCK_BYTES = 4 << 20
MAX_DECIMALS = 15  # a float64 holds so many digits


class Csv:
    name = "csv"
    about = "CSV or TSV with a header"

    def looks_like(self, path: str) -> bool:
        return path.lower().removesuffix(".gz").endswith((".csv", ".tsv"))

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        dialect = _dialect(path)
        columns = _columns(path, dialect)
        details = {
            "delimiter": dialect.delimiter,
            "line_end": dialect.line_end,
            "has_mark": dialect.has_mark,
            "decimals": {c.name: c.decimals for c in columns if c.kind == "decimals"},
        }
        names = [column.name for column in columns]
        number, unused = free_name(ROW_NUMBER, names), free_name(ORIGINAL, names)
        schema = with_origin(
            [pa.field(column.name, column.type) for column in columns],
            Origin(self.name, number, unused, details),
        )
        return pa.RecordBatchReader.from_batches(schema, _typed(path, dialect, columns, schema))

    def write(self, table: Table, path: str) -> None:
        details = details_of(table.schema, self.name)
        names = own_columns(table.schema)
        decimals = details.get("decimals", {})
        is_tabs = path.lower().removesuffix(".gz").endswith(".tsv")
        with files.created_text(path) as stream:
            if details.get("has_mark"):
                stream.write(MARK)
            writer = csv.writer(
                stream,
                delimiter=details.get("delimiter", "\t" if is_tabs else ","),
                lineterminator=details.get("line_end", "\n"),
            )
            writer.writerow(names)
            for batch in table.batches():
                texts = [
                    _texts(name, batch[name], decimals.get(name)).to_pylist() for name in names
                ]
                writer.writerows(zip(*texts, strict=True))


@dataclass(frozen=True)
class Dialect:
    """has_mark: whether a byte order mark begins the file, by which spreadsheets know UTF-8."""

    delimiter: str
    line_end: str
    has_mark: bool
    header: tuple[str, ...]


@dataclass
class Column:
    """What a column's texts are, so far: whole, decimals (a fixed number of them), shortest
    (floats as Python writes them) or text."""

    name: str
    could_be: set[str] = field(default_factory=lambda: {"whole", "decimals", "shortest"})
    decimals: int | None = None
    has_value: bool = False

    @property
    def kind(self) -> str:
        kinds = ("whole", "shortest", "decimals")
        return next((k for k in kinds if self.has_value and k in self.could_be), "text")

    @property
    def type(self) -> pa.DataType:
        return {"text": pa.string(), "whole": pa.int64()}.get(self.kind, pa.float64())

    def see(self, texts: pa.Array) -> None:
        """Rule out what these texts are not; empty ones are nulls of any kind."""
        if not self.could_be:
            return
        given = texts.filter(pc.not_equal(texts, ""))
        if not len(given):
            return
        self.has_value = True
        if not pc.all(pc.match_substring_regex(given, WHOLE)).as_py():
            self.could_be.discard("whole")
        if not pc.all(pc.match_substring_regex(given, DECIMAL)).as_py():
            self.could_be -= {"decimals", "shortest"}
            return
        floats = given.cast(pa.float64())
        if not pc.all(pc.equal(floats.cast(pa.string()), given)).as_py():
            self.could_be.discard("shortest")
        lengths = pc.utf8_length(pc.extract_regex(given, r"\.(?P<d>[0-9]+)$").field(0))
        self.decimals = lengths[0].as_py() if self.decimals is None else self.decimals
        same = pc.all(pc.equal(lengths, self.decimals)).as_py()
        if not same or pc.max(pc.utf8_length(given)).as_py() > MAX_DECIMALS:
            self.could_be.discard("decimals")


def _dialect(path: str) -> Dialect:
    try:
        with files.text(path) as stream:
            first = stream.readline()
            while first.count('"') % 2 and (more := stream.readline()):
                first += more
    except UnicodeDecodeError as error:
        raise files.not_utf8(path, error) from None
    if not first.strip():
        raise InvalidInput.of("path", f"{path!r} is empty; give a CSV file with a header")
    outside = re.sub(r'"[^"]*"', "", first)
    delimiter = max(DELIMITERS, key=outside.count)
    header = tuple(next(csv.reader([first], delimiter=delimiter)))
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InvalidInput.of(
            "path", f"{path!r} names column {min(repeated)!r} twice; give each a name of its own"
        )
    line_end = "\r\n" if first.endswith("\r\n") else "\n"
    return Dialect(delimiter, line_end, files.head(path, 4).startswith(MARK.encode()), header)


def _columns(path: str, dialect: Dialect) -> list[Column]:
    columns = [Column(name) for name in dialect.header]
    for batch in _texts_of_file(path, dialect):
        for column, texts in zip(columns, batch.columns, strict=True):
            column.see(texts)
    return columns


def _texts_of_file(path: str, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """Every value as the text it is in the file."""
    try:
        with files.opened(path) as stream:
            yield from pacsv.open_csv(
                stream,
                read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(
                    delimiter=dialect.delimiter,
                    newlines_in_values=True,
                    # In a file of one column, an empty line is an empty value.
                    ignore_empty_lines=len(dialect.header) > 1,
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(dialect.header, pa.string()),
                    strings_can_be_null=False,
                ),
            )
    except pa.ArrowInvalid as error:
        raise InvalidInput.of(
            "path",
            f"{path!r} is not CSV with {dialect.delimiter!r} between columns ({error}); give "
            "each row as many as the header has, and put texts that hold line ends or quotes in "
            "quotes",
        ) from None


def _typed(
    path: str, dialect: Dialect, columns: list[Column], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in _texts_of_file(path, dialect):
        values = [
            texts if column.kind == "text" else _numbers(texts, column.type)
            for column, texts in zip(columns, batch.columns, strict=True)
        ]
        numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
        start += batch.num_rows
        yield pa.RecordBatch.from_arrays([*values, numbers], schema=schema)


def _numbers(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts).cast(kind)


def _texts(name: str, values: pa.Array, decimals: int | None) -> pa.Array:
    """The column as it is written; null is an empty text."""
    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
        raise InvalidInput.of(
            "table",
            f"column {name!r} is of type {values.type}, which CSV cannot hold; export as jsonl or "
            "parquet",
        )
    if decimals is not None and pa.types.is_floating(values.type):
        written: list[Any] = [
            None if value is None else f"{value:.{decimals}f}" for value in values.to_pylist()
        ]
        values = pa.array(written, pa.string())
    return pc.fill_null(values.cast(pa.string()), "")
