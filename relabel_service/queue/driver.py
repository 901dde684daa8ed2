"""Statements on the driver's own cursor, in the words of either kind of database.

Written once, as templates: SQLAlchemy takes longer to build and bind a statement than SQLite to run
it. A list is one parameter, however long; many rows are one parameter, too.
"""

import base64
import json
import re
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

LATER = "run later"  # of a connection's info: statements of PostgreSQL, and their values
COPIED_FROM = 20  # rows


class Statement:
    """One statement on either kind of database. `:name` is a parameter, `IN :name` a list.

    Run on the driver's own cursor, which takes a third of the time that SQLAlchemy's takes.
    Errors come out as SQLAlchemy's all the same.
    """

    def __init__(self, template: str) -> None:
        self.for_sqlite, self.for_postgresql = _for_sqlite(template), _for_postgresql(template)
        self.returns_rows = bool(re.search(r"^\s*SELECT|RETURNING", template))
        self._row: type[tuple[Any, ...]] | None = None

    def __call__(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """The rows that the statement returns, as named tuples; empty where it returns none."""
        with _cursor(connection) as (cursor, is_sqlite):
            if is_sqlite:
                cursor.execute(self.for_sqlite, _lists_as_json(values))
            else:
                cursor.execute(self.for_postgresql, _numbers_as_arrays(values))
            if not self.returns_rows:
                return []
            if self._row is None:
                names = [column[0] for column in cursor.description]
                self._row = namedtuple("Row", names, rename=True)  # type: ignore[misc]
            # As Row._make, which counts the columns of each row.
            return list(map(tuple.__new__, repeat(self._row), cursor.fetchall()))


class ForEach:
    """One statement for many rows, which it reads as the table `row`: a statement is dear.

    On PostgreSQL, which plans each of executemany's anew, the rows are one parameter, in JSON. On
    SQLite, where a statement costs no round trip, it is run for each.
    """

    def __init__(self, columns: str, many: str, one: str) -> None:
        """columns: of a row, with their types in PostgreSQL, separated by commas.
        many: reads `ROWS`. one: on SQLite, for one row, whose columns are its parameters."""
        self._one = Statement(one)
        table = columns.replace(" bytea", " text")  # base64
        rows = f"json_to_recordset(CAST(:rows AS json)) AS row({table})"
        self._many = Statement(many.replace("ROWS", rows))
        # By place: SQLite's driver takes a third longer where it looks parameters up by name.
        self._by_place = re.sub(r":\w+", "?", self._one.for_sqlite)
        self._placed = itemgetter(*re.findall(r":(\w+)", self._one.for_sqlite))
        self._has_lists = "json_each" in self._one.for_sqlite

    def __call__(
        self, connection: Connection, rows: Sequence[Mapping[str, Any]], **beside: Any
    ) -> list[Any]:
        """What it returns, for all rows. beside: parameters of `many` besides the rows."""
        if not rows:
            return []
        if not _is_sqlite(connection):
            return self._many(connection, {"rows": _json(rows), **beside})
        if self._one.returns_rows:
            return [found for row in rows for found in self._one(connection, row)]
        if self._has_lists:
            rows = [_lists_as_json(row) for row in rows]
        with _cursor(connection) as (cursor, _):
            cursor.executemany(self._by_place, list(map(self._placed, rows)))
        return []

    def later(
        self, connection: Connection, rows: Sequence[Mapping[str, Any]], **beside: Any
    ) -> None:
        """Run it before the transaction ends, together with others: flush() does. At once on
        SQLite, where a statement costs no round trip."""
        if _is_sqlite(connection):
            self(connection, rows)
        elif rows:
            pending = (self._many.for_postgresql, {"rows": _json(rows), **beside})
            connection.info.setdefault(LATER, []).append(pending)


class Insertion(ForEach):
    """Rows into a table."""

    def __init__(self, table: str, columns: str) -> None:
        """columns: as ForEach's."""
        types = _types(columns)
        names, values = ", ".join(types), ", ".join(f":{name}" for name in types)
        read = ", ".join(
            f"decode({name}, 'base64')" if kind == "bytea" else name for name, kind in types.items()
        )
        super().__init__(
            columns,
            f"INSERT INTO {table} ({names}) SELECT {read} FROM ROWS",
            one=f"INSERT INTO {table} ({names}) VALUES ({values})",
        )
        self._copy = f"COPY {table} ({names}) FROM STDIN"

    def later(
        self, connection: Connection, rows: Sequence[Mapping[str, Any]], **beside: Any
    ) -> None:
        """As ForEach.later; many at once, by COPY, where that costs less than reading JSON."""
        if _is_sqlite(connection) or len(rows) < COPIED_FROM:
            super().later(connection, rows, **beside)
            return
        with _cursor(connection) as (cursor, _), cursor.copy(self._copy) as copy:
            for row in map(self._placed, rows):
                copy.write_row(row)


def _types(columns: str) -> dict[str, str]:
    """By the column's name."""
    pairs = (column.split(maxsplit=1) for column in columns.split(","))
    return {name: kind.strip() for name, kind in pairs}


def begin_later(connection: Connection) -> None:
    """Nothing is to be run later, whatever the transaction before this one left."""
    connection.info[LATER] = []


def flush(connection: Connection) -> None:
    """Run what was to be run later. On PostgreSQL in one statement, of which each part sees the
    rows as they were before: two parts must not write the same row."""
    pending = connection.info.pop(LATER, [])
    if pending:
        values = {
            f"{name}_{number}": value
            for number, (_, given) in enumerate(pending)
            for name, value in given.items()
        }
        together = _together(tuple(text for text, _ in pending))
        with _cursor(connection) as (cursor, _):
            cursor.execute(together, _numbers_as_arrays(values))


@lru_cache(maxsize=256)
def _together(texts: Sequence[str]) -> str:
    numbered = (re.sub(r"%\((\w+)\)s", rf"%(\1_{n})s", text) for n, text in enumerate(texts))
    parts = (f"part_{number} AS ({text})" for number, text in enumerate(numbered))
    return f"WITH {', '.join(parts)} SELECT 1"


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


@contextmanager
def _cursor(connection: Connection) -> Iterator[tuple[Any, bool]]:
    """The driver's, and whether that is SQLite's."""
    driver, dialect = connection.connection, connection.dialect
    cursor = driver.cursor()
    try:
        yield cursor, _is_sqlite(connection)
    except dialect.loaded_dbapi.Error as error:
        is_gone = dialect.is_disconnect(error, driver, cursor)
        if is_gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, dialect.loaded_dbapi.Error,
            hide_parameters=True, connection_invalidated=is_gone, dialect=dialect,
        ) from error  # fmt: skip
    finally:
        cursor.close()


def _lists_as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in values.items()
    }


def _numbers_as_arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of whole numbers as PostgreSQL writes them: psycopg's own way is ten times as long."""
    return {
        name: f"{{{','.join(map(str, value))}}}"
        if isinstance(value, list) and value and isinstance(value[0], int)
        else value
        for name, value in values.items()
    }


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, default=lambda value: base64.b64encode(value).decode())


def _for_sqlite(template: str) -> str:
    """SQLite has one writer, which needs to lock no row."""
    unlocked = re.sub(r"FOR UPDATE.*", "", template)
    return re.sub(r"IN (:\w+)", r"IN (SELECT value FROM json_each(\1))", unlocked)


def _for_postgresql(template: str) -> str:
    with_arrays = re.sub(r"IN (:\w+)", r"= ANY(\1)", template.replace("instr(", "strpos("))
    return re.sub(r":(\w+)", r"%(\1)s", with_arrays)
