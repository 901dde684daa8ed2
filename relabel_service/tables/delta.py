"""Delta tables that pass between the parts: idempotent commits, and reads by run.

Every write names an application (a run, a campaign) and is committed once however
often it is sent: Delta's transaction identifiers remember the application.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from relabel_service.errors import Conflict, InvalidInput, NotFound

# A table keeps the last version that an application has committed, and takes the same one again
# (deltalake 1.6.6), so it is asked first; one write, one version.
FIRST_VERSION = 1
MAX_ATTEMPTS = 10


def is_delta(uri: str) -> bool:
    """Whether a Delta table lies at `uri`; a plain file is not one."""
    if Path(uri).is_file():
        return False  # deltalake 1.6 would raise OSError
    return DeltaTable.is_deltatable(uri)


def open_table(uri: str, version: int | None = None) -> DeltaTable:
    """Open a Delta table. Raises NotFound when there is none at `uri`."""
    if not is_delta(uri):
        raise NotFound(f"no Delta table at {uri!r}; check the address, or write the table first")
    return DeltaTable(uri, version=version)


def file_sizes(table: DeltaTable) -> list[int]:
    """Bytes of each of the table's files."""
    actions = pa.table(table.get_add_actions(flatten=True))
    return [int(size) for size in actions["size_bytes"].to_pylist()]


def is_committed(uri: str, app_id: str) -> bool:
    """Whether the application's write is already in the table."""
    return is_delta(uri) and DeltaTable(uri).transaction_version(app_id) == FIRST_VERSION


def commit_once_properties(app_id: str, **metadata: str) -> CommitProperties:
    """Commit properties that mark the application's one write."""
    return CommitProperties(
        custom_metadata=metadata, app_transactions=[Transaction(app_id, FIRST_VERSION)]
    )


def prepare(field: str, uri: str, schema: pa.Schema) -> None:
    """Make an empty Delta table, where there is none. One of an earlier release may lack the
    columns that came last.

    Raises InvalidInput naming the field where a table of other columns lies.
    """
    table = DeltaTable.create(uri, schema, mode="ignore")
    names = [column.name for column in table.schema().fields]
    if names != schema.names[: len(names)]:
        raise InvalidInput.of(
            field,
            f"{uri!r} is a table of {', '.join(names)}; name another address, for one of "
            + ", ".join(schema.names),
        )


def append_once(
    uri: str, rows: pa.Table | Callable[[], pa.RecordBatchReader], *, app_id: str
) -> bool:
    """Append rows in one commit, unless `app_id` has committed before; True if written now.

    rows: a table, or what opens a stream of them, each time it is called.
    Raises Conflict when other writers win every attempt.
    """
    for _ in range(MAX_ATTEMPTS):
        data = rows() if callable(rows) else rows
        try:
            # Written against the very snapshot that was asked: a twin in between makes it stale.
            table = _with_columns(uri, data.schema)
            if table.transaction_version(app_id) == FIRST_VERSION:
                return False
            write_deltalake(
                table, data, mode="append", commit_properties=commit_once_properties(app_id)
            )
        except CommitFailedError:
            continue
        return True
    raise Conflict(f"{uri!r} kept changing through {MAX_ATTEMPTS} attempts; try again later")


def _with_columns(uri: str, schema: pa.Schema) -> DeltaTable:
    """The table, made where there is none, with the columns that this release writes beside those
    of an earlier one."""
    table = DeltaTable.create(uri, schema, mode="ignore")
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
    uri: str, files: Sequence[AddAction], *, schema: pa.Schema, app_id: str
) -> bool:
    """Add files that workers wrote under `uri` in one commit; True if committed now.

    Raises Conflict as append_once does. The files stay where they are on failure.
    """
    for _ in range(MAX_ATTEMPTS):
        table = _with_columns(uri, schema)
        if table.transaction_version(app_id) == FIRST_VERSION:
            return False
        try:
            table.create_write_transaction(
                list(files),
                mode="append",
                schema=table.schema(),
                commit_properties=commit_once_properties(app_id),
            )
        except CommitFailedError:
            continue
        return True
    raise Conflict(f"{uri!r} kept changing through {MAX_ATTEMPTS} attempts; try again later")


def read_run(uri: str, run_id: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """One mine run's findings, worst first. Raises NotFound when the run is not there."""
    if not is_committed(uri, run_id):
        raise NotFound(
            f"findings table {uri!r} has no run {run_id!r}; use the one that mine printed"
        )
    rows = read_where(uri, {"run_id": run_id}, columns=columns)
    return rows.sort_by("rank")


def audit_of(findings_uri: str) -> str:
    """Where a mine run puts a random sample of the rows that are not among its findings."""
    return f"{findings_uri.rstrip('/')}-audit"


def read_where(
    uri: str, equals: Mapping[str, Any], *, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of a Delta table whose columns equal these values. Raises NotFound."""
    return open_table(uri).to_pyarrow_table(
        filters=[(name, "=", value) for name, value in equals.items()] or None,
        columns=list(columns) if columns else None,
    )
