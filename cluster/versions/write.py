"""The next version of a Delta table: one commit, once, against the version that was read.

A decision is about a label as it was when the row was mined. If the row has
another label by now, or is gone, somebody else was at work: writing is refused
(or, where asked, leaves those rows alone), never done over them. A writer that
comes in between makes the commit fail, and everything is read anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from cluster.data.rows import Source, check, latest
from relabel_service.errors import Conflict, InvalidInput, NotFound
from relabel_service.tables import delta, preflight, schemas
from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task

MAX_NAMED = 3  # conflicting rows that an error names
MADE_KEY = "relabel.made_by"  # commit metadata: the app_id of the write that made the version


class Action(StrEnum):
    """What a decision does to its row."""

    SET = "set"  # another label
    DROP = "drop"  # the row is in no later version
    WEIGHT = "weight"  # the row counts more or less in training


@dataclass(frozen=True)
class WriteConfig:
    """What to write.

    decisions: rows of votes.majority.DECISIONS, with `weight` where the action is WEIGHT.
    app_id: names the write; a second one of the same name changes nothing.
    policy: which rule decided, None where people did.
    weight_column: where weights go; made when the table has none.
    skip_changed: leave rows alone whose label changed meanwhile, or whose
    content the new label is incompatible with, rather than refuse.
    """

    source: Source
    decisions: Sequence[Mapping[str, Any]]
    app_id: str
    lineage_uri: str
    action: Action = Action.SET
    policy: str | None = None
    weight_column: str = "weight"
    skip_changed: bool = False


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
        decisions, updates = _plan(config, source)
        try:
            version = before + 1 if is_made else _commit(config, source, updates)
        except CommitFailedError as error:
            if not delta.other_has_written(source.uri, before):
                raise preflight.refusal(source.uri, error) from None
            continue
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


def _plan(config: WriteConfig, source: Source) -> tuple[list[dict[str, Any]], pa.Table]:
    """The decisions that hold for a pinned source, and what to write.

    Raises Conflict, or InvalidInput when a new label is incompatible with its row's content.
    """
    task = task_named(source.task)
    present = _present(source, {row["id"] for row in config.decisions})
    labels = {name: row["label"] for name, row in present.items()}
    kept: list[dict[str, Any]] = []
    changed_meanwhile: list[Mapping[str, Any]] = []
    incompatible: list[tuple[Mapping[str, Any], InvalidInput]] = []
    for row in config.decisions:
        # The row as it is now, not as earlier decisions here leave it: one unit's decision may
        # take a token from another unit, about which people then decided before it was taken.
        before = present.get(row["id"])
        if before is None or task.unit_label(before["label"], row["unit"]) != row["previous_label"]:
            changed_meanwhile.append(row)
            continue
        if config.action is Action.SET:
            try:
                label = task.with_unit_label(labels[row["id"]], row["unit"], row["new_label"])
                task.write_label(label, before["content"])
                if fault := task.incompatible_label(label, task.content_to_wire(before["content"])):
                    raise InvalidInput.of("label", fault)
            except InvalidInput as error:
                incompatible.append((row, error))
                continue
            labels[row["id"]] = label
        changed = config.action is not Action.SET or row["new_label"] != row["previous_label"]
        kept.append({**row, "changed": changed})
    if changed_meanwhile and not config.skip_changed:
        raise Conflict(_changed_message(source, changed_meanwhile, present))
    if incompatible and not config.skip_changed:
        raise InvalidInput.of("label", _incompatible_message(incompatible))
    touched = [row for row in kept if row["changed"]]
    return kept, _updates(config, source, task, touched, present, labels)


def _present(source: Source, ids: set[str]) -> dict[str, Mapping[str, Any]]:
    """id -> the valid row's text forms and its own columns, for the rows that were decided."""
    table = delta.open_table(source.uri, source.version)
    wanted = None
    if source.id_column:
        wanted = (
            pads.field(source.id_column).cast(pa.string()).isin(pa.array(sorted(ids), pa.string()))
        )
    rows: dict[str, Mapping[str, Any]] = {}
    for batch in delta.scanner(table, source.columns, where=wanted).to_batches():
        own = pa.Table.from_batches([batch])
        checked = check(own, source=source).to_pylist()
        for row, columns in zip(checked, own.to_pylist(), strict=True):
            if row["fault"] is None and row["id"] in ids:
                rows[row["id"]] = {**row, "own": columns}
    return rows


def _updates(
    config: WriteConfig,
    source: Source,
    task: Task,
    touched: Sequence[Mapping[str, Any]],
    present: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
) -> pa.Table:
    """One line a row: key columns and what becomes of it, in the table's own types."""
    keys = [source.id_column] if source.id_column else list(source.content_columns)
    schema = pa.schema(delta.open_table(source.uri, source.version).schema().to_arrow())
    ids = list(dict.fromkeys(row["id"] for row in touched))
    columns = {
        name: _column([present[row_id]["own"][name] for row_id in ids], schema.field(name).type)
        for name in keys
    }
    if config.action is Action.SET:
        values = [task.write_label(labels[row_id], present[row_id]["content"]) for row_id in ids]
        columns[source.label_column] = _column(values, schema.field(source.label_column).type)
    if config.action is Action.WEIGHT:
        weights: dict[str, float] = {}
        for row in touched:
            weights[row["id"]] = min(row["weight"], weights.get(row["id"], row["weight"]))
        field = schema.get_field_index(config.weight_column)
        kind = schema.field(field).type if field >= 0 else pa.float64()
        columns[config.weight_column] = pa.array([weights[row_id] for row_id in ids]).cast(kind)
    return pa.table(columns)


def _column(values: Sequence[Any], column_type: pa.DataType) -> pa.Array:
    """Values in a column's own type."""
    if pa.types.is_nested(column_type):  # from empty lists alone no item type can be inferred
        return pa.array(values, column_type)
    return pa.array(values).cast(column_type)


def _commit(config: WriteConfig, source: Source, updates: pa.Table) -> int:
    """Commit the updates against the pinned version: the new version's number."""
    assert source.version is not None
    if not updates.num_rows:
        return source.version
    keys = [source.id_column] if source.id_column else list(source.content_columns)
    table = DeltaTable(source.uri, version=source.version)
    new = [one for one in updates.column_names if one not in table.schema().to_arrow().names]
    if new and preflight.is_mapped(table):  # deltalake 1.6 widens no such table
        raise InvalidInput.of(
            "weight_column",
            f"{new[0]!r} is no column of {source.uri!r}, and none can be added here to a table "
            "whose columns are mapped; add it where the table is kept (ALTER TABLE … ADD COLUMN)",
        )
    merger = table.merge(
        updates,
        predicate=" AND ".join(f'old."{name}" IS NOT DISTINCT FROM new."{name}"' for name in keys),
        source_alias="new",
        target_alias="old",
        merge_schema=bool(new),
        commit_properties=delta.commit_once_properties(config.app_id, **{MADE_KEY: config.app_id}),
    )
    if config.action is Action.DROP:
        merger.when_matched_delete().execute()
    else:
        written = [name for name in updates.column_names if name not in keys]
        merger.when_matched_update({f'"{name}"': f'new."{name}"' for name in written}).execute()
    return table.version()


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


def _changed_message(
    source: Source, rows: Sequence[Mapping[str, Any]], present: Mapping[str, Mapping[str, Any]]
) -> str:
    examples = "; ".join(
        f"{row['id']!r} was {row['previous_label']!r} and is "
        + (repr(present[row["id"]]["label"]) if row["id"] in present else "gone")
        for row in rows[:MAX_NAMED]
    )
    return (
        f"{len(rows)} rows of {source.uri!r} changed since they were mined: {examples}; "
        "mine the present version and ask again, or leave these rows alone (--skip-changed)"
    )


def _incompatible_message(incompatible: Sequence[tuple[Mapping[str, Any], InvalidInput]]) -> str:
    examples = "; ".join(
        f"{row['id']!r}: {error.violations[0].description}"
        for row, error in incompatible[:MAX_NAMED]
    )
    return (
        f"{len(incompatible)} new labels are incompatible with their rows: {examples}; "
        "ask about these rows again, and leave them alone here (--skip-changed)"
    )
