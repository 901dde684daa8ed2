"""The next version of a Delta table: one commit, once, against the version that was read.

A writer that comes in between makes the commit fail, and everything is read anew: nothing is
written over what somebody else has done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake.exceptions import CommitFailedError

from cluster.data.rows import Source, latest
from cluster.versions.plan import MADE_KEY, Action, Updates, WriteConfig, plan
from relabel_service.errors import Conflict, InvalidInput, NotFound
from relabel_service.tables import delta, preflight, schemas


@dataclass(frozen=True)
class WriteResult:
    """decisions: those that hold for the version before, and whether each `changed` something.

    version is version_before when nothing changed.
    """

    version_before: int
    version: int
    decisions: Sequence[Mapping[str, Any]]


def write(config: WriteConfig) -> WriteResult:
    """Write the next version and its lineage. Idempotent: run again, it returns the same result.

    Raises NotFound without such a table or column, InvalidInput where there are no
    versions, Conflict when labels changed meanwhile or other writers win every attempt.
    """
    require_versions(config.source)
    for _ in range(delta.MAX_ATTEMPTS):
        before, is_made = _version_before(config.source.uri, config.app_id)
        source = latest(replace(config.source, version=before))
        decisions, updates = plan(config, source)
        try:
            version = before + 1 if is_made else _commit(config, source, updates)
        except CommitFailedError as error:
            if not delta.other_has_written(source.uri, before):
                raise preflight.refusal(source.uri, error) from None
            continue
        except Exception as error:
            if not delta.is_table_error(error):
                raise
            raise preflight.refusal(source.uri, error) from None
        break
    else:
        raise Conflict(
            f"{config.source.uri!r} kept changing through {delta.MAX_ATTEMPTS} attempts; "
            "try again later"
        )
    _write_lineage(config, decisions, version)
    return WriteResult(before, version, decisions)


def require_versions(source: Source) -> None:
    """Raises InvalidInput when the data set is not a Delta table."""
    if not source.is_delta:
        raise InvalidInput.of(
            "dataset",
            f"{source.uri!r} is not a Delta table, and only Delta has versions; "
            "copy it into one (deltalake.write_deltalake) and give that",
        )


def _version_before(uri: str, app_id: str) -> tuple[int, bool]:
    """The version to start from, and whether this very write has been made from it already."""
    table = delta.open_table(uri)
    if table.transaction_version(app_id) is None:
        return table.version(), False
    for commit in table.history():
        if commit.get(MADE_KEY) == app_id:
            return int(commit["version"]) - 1, True
    raise NotFound(
        f"{uri!r} holds {app_id!r}, but its log no longer says in which version; "
        "its lineage table may"
    )


def _commit(config: WriteConfig, source: Source, updates: Updates) -> int:
    """Commit the updates against the pinned version: the new version's number."""
    assert source.version is not None
    if not updates.keys.num_rows:
        return source.version
    table = delta.open_table(source.uri, source.version)
    present = {field.name for field in table.schema().fields}
    missing = [name for name in updates.values.column_names if name not in present]
    if missing and preflight.is_mapped(table):  # deltalake 1.6 widens no such table
        raise InvalidInput.of(
            "weight_column",
            f"{missing[0]!r} is no column of {source.uri!r}, and none can be added here to a table "
            "whose columns are mapped; add it where the table is kept (ALTER TABLE … ADD COLUMN)",
        )
    # A column may both tell the row and change: its new values go by a name longer than any key's.
    # A column that is missing keeps its name, which the merge adds.
    prefix = "".join(updates.keys.column_names)
    rows, names = updates.keys, {}
    for name in updates.values.column_names:
        names[name] = name if name in missing else prefix + name
        rows = rows.append_column(names[name], updates.values[name])
    merger = table.merge(
        rows,
        # In brackets: IS NOT DISTINCT FROM takes all that follows for its right side (1.6.6).
        predicate=" AND ".join(
            f"({_of('old', name)} IS NOT DISTINCT FROM {_of('new', name)})"
            for name in updates.keys.column_names
        ),
        source_alias="new",
        target_alias="old",
        merge_schema=bool(missing),
        commit_properties=delta.commit_once_properties(config.app_id, **{MADE_KEY: config.app_id}),
    )
    if config.action is Action.DROP:
        merger.when_matched_delete().execute()
    else:
        changes = {_quoted(name): _of("new", column) for name, column in names.items()}
        merger.when_matched_update(changes).execute()
    return table.version()


def _of(alias: str, name: str) -> str:
    return f"{alias}.{_quoted(name)}"


def _quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _write_lineage(
    config: WriteConfig, decisions: Sequence[Mapping[str, Any]], version: int
) -> None:
    of_write = {
        "action": config.action.value,
        "policy": config.policy,
        "merge_time": datetime.now(UTC),
        "dataset_version": version,
    }
    lineage = pa.Table.from_pylist(
        [{**row, **of_write} for row in decisions], schema=schemas.LINEAGE
    )
    delta.append_once(config.lineage_uri, lineage, app_id=config.app_id)
