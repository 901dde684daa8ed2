"""Delta tables that pass between the parts: idempotent commits, and reads by run.

Every write names an application (a run, a campaign) and is committed once however
often it is sent: Delta's transaction identifiers remember the application.
"""

import functools
import json
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import (
    CommitProperties,
    DeltaTable,
    QueryBuilder,
    Schema,
    Transaction,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from relabel_service.errors import Conflict, InvalidInput, NotFound
from relabel_service.tables import preflight

# A table keeps the last version that an application has committed, and takes the same one again
# (deltalake 1.6.6), so it is asked first; one write, one version.
FIRST_VERSION = 1
MAX_ATTEMPTS = 10

T = TypeVar("T")
TABLE_ERRORS = (DeltaError, OSError, pa.ArrowException)


def is_delta(uri: str) -> bool:
    """Whether a Delta table lies at `uri`; a plain file is not one.

    Raises InvalidInput for an address that cannot be reached.
    """
    if Path(uri).is_file():
        return False  # deltalake 1.6 would raise OSError
    try:
        return DeltaTable.is_deltatable(uri)
    except TABLE_ERRORS as error:
        said = preflight.first_line(error)
        raise InvalidInput.of(
            "dataset", f"{uri!r} cannot be reached ({said}); check the address and your access"
        ) from None


def open_table(uri: str, version: int | None = None) -> DeltaTable:
    """Open a Delta table. Raises NotFound when there is none at `uri`, or not of the version."""
    if not is_delta(uri):
        raise NotFound(f"no Delta table at {uri!r}; check the address, or write the table first")
    try:
        return DeltaTable(uri, version=version)
    except DeltaError as error:
        if version is None:
            raise InvalidInput.of(
                "dataset", f"{uri!r} cannot be opened: {error}; repair its log, or give a copy"
            ) from None
        latest = open_table(uri).version()
        raise NotFound(
            f"{uri!r} has no version {version}, or its log was cleaned up; the latest is {latest}: "
            "give that, or one shortly before it"
        ) from None


def scanner(
    table: DeltaTable,
    columns: Sequence[str] | None = None,
    *,
    where: pads.Expression | None = None,
    **reading: int,
) -> pads.Scanner:
    """Rows of a table in a stream, in the order of its files; all columns when left out.

    reading: of Dataset.scanner. Arrow reads plain tables. It knows neither deletion vectors nor
    mapped columns, which come as nulls without an error where the protocol is of version 2
    (deltalake 1.6.6); such tables are read by delta-rs.
    """
    names = None if columns is None else list(columns)
    if not preflight.needs_delta_rs(table):
        return table.to_pyarrow_dataset().scanner(columns=names, filter=where, **reading)
    schema = pa.schema(table.schema().to_arrow())
    wanted = schema if names is None else pa.schema([schema.field(name) for name in names])
    used = wanted if where is None else schema
    rows = _query(table, used, batch_size=reading.get("batch_size"))
    return pads.Scanner.from_batches(rows, schema=used, columns=wanted.names, filter=where)


def is_table_error(error: Exception) -> bool:
    """Whether delta-rs or Arrow raised it, for a table or store that is not as it should be."""
    # casts that fail as rows are written are of no class of their own (deltalake 1.6.6)
    return isinstance(error, TABLE_ERRORS) or type(error) is Exception


@contextmanager
def readable(uri: str) -> Iterator[None]:
    """Within it, rows that cannot be read raise InvalidInput with the table's address."""
    try:
        yield
    except TABLE_ERRORS as error:
        raise InvalidInput.of(
            "dataset",
            f"{uri!r} cannot be read to its end ({preflight.first_line(error)}); where a file is "
            "gone, as after a vacuum, give a later version, and where types differ, write all "
            "files with one type",
        ) from None


def count_rows(table: DeltaTable) -> int:
    """Rows of a table, those that deletion vectors mark left out."""
    if not preflight.needs_delta_rs(table):
        counts = pa.table(table.get_add_actions(flatten=True))["num_records"]
        if counts.null_count:  # DeltaTable.count takes such files for empty ones (1.6.6)
            return int(table.to_pyarrow_dataset().count_rows())
        return sum(counts.to_pylist())
    partitions = table.metadata().partition_columns
    name = next(one.name for one in table.schema().fields if one.name not in partitions)
    column = _quoted(name)
    # count(*) fails where files tell no number of rows, as it reads no column (1.6.6)
    query = (
        QueryBuilder()
        .register("t", table)
        .execute(
            f"SELECT count({column}) + count(CASE WHEN {column} IS NULL THEN 1 END) AS rows FROM t"
        )
    )
    return int(pa.table(query.read_all())["rows"][0].as_py())


def _query(
    table: DeltaTable, schema: pa.Schema, *, batch_size: int | None
) -> Iterator[pa.RecordBatch]:
    """The columns of a schema by delta-rs, in the schema's types and the files' order."""
    settings = {"datafusion.execution.target_partitions": "1"}  # several give rows as they come
    if batch_size is not None:
        settings["datafusion.execution.batch_size"] = str(batch_size)
    names = ", ".join(map(_quoted, schema.names))
    query = QueryBuilder(settings).register("t", table).execute(f"SELECT {names} FROM t")
    for batch in pa.RecordBatchReader.from_stream(query):
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)],
            schema=schema,
        )


def _quoted(name: str) -> str:
    """A column's name as SQL has it."""
    return '"{}"'.format(name.replace('"', '""'))


def other_has_written(uri: str, version: int | None) -> bool:
    """Whether a commit against a version failed because another one came first.

    delta-rs raises CommitFailedError for that and for features it cannot write (1.6.6). version:
    None where there was no table.
    """
    return is_delta(uri) and (version is None or open_table(uri).version() > version)


def has_type(field: pa.Field) -> bool:
    """Whether a Delta table may hold the column."""
    try:
        Schema.from_arrow(pa.schema([field]))
    except Exception:  # what deltalake 1.6.6 raises is of no class of its own
        return False
    return True


def file_sizes(table: DeltaTable) -> list[int]:
    """Bytes of each of the table's files."""
    actions = pa.table(table.get_add_actions(flatten=True))
    return [int(size) for size in actions["size_bytes"].to_pylist()]


def is_committed(uri: str, app_id: str) -> bool:
    """Whether the application's write is already in the table."""
    return is_delta(uri) and open_table(uri).transaction_version(app_id) == FIRST_VERSION


def commit_once_properties(app_id: str, **metadata: str) -> CommitProperties:
    """Commit properties that mark the application's one write."""
    return CommitProperties(
        custom_metadata=metadata, app_transactions=[Transaction(app_id, FIRST_VERSION)]
    )


def prepare(field: str, uri: str, schema: pa.Schema) -> None:
    """Make an empty Delta table, where there is none. One of an earlier release may lack the
    columns that came last, and one of a later release may have more.

    Raises InvalidInput naming the field where a table of other columns lies.
    """
    table = _made(uri, schema)
    names = [column.name for column in table.schema().fields]
    num_common = min(len(names), len(schema.names))
    if not num_common or names[:num_common] != schema.names[:num_common]:
        raise InvalidInput.of(
            field,
            f"{uri!r} is a table of {', '.join(names)}; name another address, for one of "
            + ", ".join(schema.names),
        )


def append_once(
    uri: str, rows: pa.Table, *, app_id: str, metadata: Mapping[str, str] | None = None
) -> bool:
    """Append rows in one commit, unless `app_id` has committed before; True if written now.

    metadata: of the commit. Raises Conflict when other writers win every attempt, InvalidInput when
    the table cannot be written.
    """

    def append(table: DeltaTable) -> bool:
        if table.transaction_version(app_id) == FIRST_VERSION:
            return False
        write_deltalake(
            table,
            rows,
            mode="append",
            schema_mode="merge",  # columns of later releases become null
            commit_properties=commit_once_properties(app_id, **(metadata or {})),
        )
        return True

    return _committed(uri, rows.schema, append)


def append_missing(
    uri: str,
    schema: pa.Schema,
    missing: Callable[[DeltaTable], Iterator[pa.RecordBatch]],
    *,
    app_id: str,
) -> int:
    """Append, in one commit, what the table does not hold yet; how many rows that were.

    missing: those rows for a snapshot of the table, asked again where another write of `app_id`
    came first: of all its writes each sees the ones before. Raises as append_once does.
    """

    def append(table: DeltaTable) -> int:
        rows = missing(table)
        first = next(rows, None)
        if first is None:
            return 0
        counts: list[int] = []
        version = (table.transaction_version(app_id) or 0) + 1
        write_deltalake(
            table,
            pa.RecordBatchReader.from_batches(schema, _counted(chain([first], rows), counts)),
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(app_transactions=[Transaction(app_id, version)]),
        )
        return sum(counts)

    return _committed(uri, schema, append)


def _committed(uri: str, schema: pa.Schema, append: Callable[[DeltaTable], T]) -> T:
    """What `append` returns, tried again while other writers win.

    append: writes against the very snapshot that it is given: a twin in between makes it stale.
    """
    for _ in range(MAX_ATTEMPTS):
        version = None
        try:
            table = _with_columns(uri, schema)
            version = table.version()
            return append(table)
        except CommitFailedError as error:
            if not other_has_written(uri, version):
                raise preflight.refusal(uri, error) from None
        except Exception as error:
            if not is_table_error(error):
                raise
            raise preflight.refusal(uri, error) from None
    raise Conflict(f"{uri!r} kept changing through {MAX_ATTEMPTS} attempts; try again later")


def _counted(batches: Iterable[pa.RecordBatch], counts: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        counts.append(batch.num_rows)
        yield batch


def _made(uri: str, schema: pa.Schema) -> DeltaTable:
    """The table, made where there is none. Of two that make it at once the second finds the
    first's: mode="ignore" looks before it writes, and then loses the race (deltalake 1.6.6)."""
    try:
        return DeltaTable.create(uri, schema, mode="ignore")
    except CommitFailedError:
        if not is_delta(uri):
            raise
        return DeltaTable(uri)


def _with_columns(uri: str, schema: pa.Schema) -> DeltaTable:
    """The table, made where there is none, with the columns that this release writes beside those
    of an earlier one."""
    table = _made(uri, schema)
    present = {field.name for field in table.schema().fields}
    missing = [field for field in Schema.from_arrow(schema).fields if field.name not in present]
    if missing:
        table.alter.add_columns(missing)
    return table


def add_file(name: str, *, size_bytes: int, num_rows: int) -> AddAction:
    """The action that adds a file, named relative to its table."""
    stats = json.dumps({"numRecords": num_rows})
    return AddAction(name, size_bytes, {}, int(time.time() * 1000), True, stats)


def commit_files_once(
    uri: str,
    files: Sequence[AddAction],
    *,
    schema: pa.Schema,
    app_id: str,
    metadata: Mapping[str, str] | None = None,
) -> bool:
    """Add files that workers wrote under `uri` in one commit; True if committed now.

    Raises Conflict as append_once does. The files stay where they are on failure.
    """
    for _ in range(MAX_ATTEMPTS):
        version = None
        try:
            table = _with_columns(uri, schema)
            version = table.version()
            if table.transaction_version(app_id) == FIRST_VERSION:
                return False
            table.create_write_transaction(
                list(files),
                mode="append",
                schema=table.schema(),
                commit_properties=commit_once_properties(app_id, **(metadata or {})),
            )
        except CommitFailedError as error:
            if not other_has_written(uri, version):
                raise preflight.refusal(uri, error) from None
            continue
        except Exception as error:
            if not is_table_error(error):
                raise
            raise preflight.refusal(uri, error) from None
        return True
    raise Conflict(f"{uri!r} kept changing through {MAX_ATTEMPTS} attempts; try again later")


def read_run(
    uri: str, run_id: str, *, columns: Sequence[str] | None = None, num_rows: int | None = None
) -> pa.Table:
    """One mine run's findings, worst first, at most `num_rows`. Raises NotFound when the run is not
    there."""
    if not is_committed(uri, run_id):
        raise NotFound(
            f"findings table {uri!r} has no run {run_id!r}; use the one that mine printed"
        )
    where = pads.field("run_id") == run_id
    if num_rows is not None:
        where &= pads.field("rank") < num_rows
    return scanner(open_table(uri), columns, where=where).to_table().sort_by("rank")


def audit_of(findings_uri: str) -> str:
    """Where a mine run puts a random sample of the rows that are not among its findings."""
    return f"{findings_uri.rstrip('/')}-audit"


def read_where(
    uri: str, equals: Mapping[str, Any], *, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of a Delta table whose columns equal these values. Raises NotFound."""
    matches = [pads.field(name) == value for name, value in equals.items()]
    where = functools.reduce(operator.and_, matches) if matches else None
    with readable(uri):
        return scanner(open_table(uri), columns or None, where=where).to_table()
