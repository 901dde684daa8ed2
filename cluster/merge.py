"""People's decisions become the data set's next version: one Delta commit, once.

A decision is about a label as it was when the row was mined. If the row has
another label by now, or is gone, somebody else was at work: the merge is refused
(or, where asked, leaves those rows alone), never written over. The commit is
made against the version that was checked, so a writer in between is found out
and everything is checked anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from cluster.dataset import Source, check, latest
from relabel_service import tables
from relabel_service.consensus import answers_on_rows, majority
from relabel_service.errors import Conflict, InvalidInput, NotFound
from relabel_service.tasks import Task, task_named

TOLD = 3  # conflicting rows that an error names
MERGE_KEY = "relabel.merge"  # commit metadata: which merge made the version


@dataclass(frozen=True)
class Merging:
    """Results of one campaign into the Delta table they are about.

    skip_changed: leave rows alone whose label changed meanwhile, rather than refuse.
    """

    source: Source
    results_uri: str
    campaign: str
    lineage_uri: str
    skip_changed: bool = False


@dataclass(frozen=True)
class Merged:
    """What a merge did, in decisions (a row or unit each).

    num_undecided: asked about, but without a majority. num_skipped: left alone
    because the label had changed meanwhile. version is version_before when
    nothing changed.
    """

    version_before: int
    version: int
    num_decided: int
    num_changed: int
    num_undecided: int
    num_skipped: int


def merge(merging: Merging) -> Merged:
    """Write the next version and its lineage. Run again, it changes nothing and tells the same.

    Raises NotFound without such a table, column or campaign, InvalidInput when
    the data set is no Delta table, Conflict when labels changed meanwhile or
    other writers win every attempt.
    """
    if not merging.source.is_delta:
        raise InvalidInput.of(
            "dataset",
            f"{merging.source.uri!r} is no Delta table, and only Delta has versions; "
            "copy it into one (deltalake.write_deltalake) and merge into that",
        )
    results = _results(merging)
    decisions = majority(results)
    num_asked = len({(row["id"], row["unit"]) for row in results.to_pylist()})
    app_id = f"merge/{merging.campaign}/{results['run_id'][0].as_py()}"
    for _ in range(tables.MAX_ATTEMPTS):
        before, is_merged = _version_before(merging.source.uri, app_id)
        source = latest(replace(merging.source, version=before))
        plan = _plan(merging, source, decisions)
        try:
            version = before + 1 if is_merged else _write(source, plan, app_id)
        except CommitFailedError:
            continue
        break
    else:
        raise Conflict(
            f"{merging.source.uri!r} kept changing through {tables.MAX_ATTEMPTS} attempts; "
            "merge again later"
        )
    _write_lineage(merging, plan, version, app_id)
    return Merged(
        version_before=before,
        version=version,
        num_decided=len(plan.decisions),
        num_changed=sum(row["changed"] for row in plan.decisions),
        num_undecided=num_asked - decisions.num_rows,
        num_skipped=decisions.num_rows - len(plan.decisions),
    )


@dataclass(frozen=True)
class _Plan:
    """decisions: DECISIONS, and whether each changes its label. updates: keys and new labels."""

    decisions: Sequence[Mapping[str, Any]]
    updates: pa.Table


def _results(merging: Merging) -> pa.Table:
    results = answers_on_rows(
        tables.read_where(merging.results_uri, {"campaign": merging.campaign})
    )
    if not results.num_rows:
        raise NotFound(
            f"{merging.results_uri!r} holds no results of campaign {merging.campaign!r}; "
            "finalize it first, or name another"
        )
    return results


def _version_before(uri: str, app_id: str) -> tuple[int, bool]:
    """The version to start from, and whether this very merge has been made from it already."""
    table = tables.open_table(uri)
    if table.transaction_version(app_id) is None:
        return table.version(), False
    for commit in table.history():
        if commit.get(MERGE_KEY) == app_id:
            return int(commit["version"]) - 1, True
    raise NotFound(
        f"{uri!r} has merged {app_id!r}, but its log no longer says in which version; "
        "its lineage table may"
    )


def _plan(merging: Merging, source: Source, decisions: pa.Table) -> _Plan:
    """What to write over the rows of a pinned source. Raises Conflict."""
    task = task_named(source.task)
    present = _present(source, set(decisions["id"].to_pylist()))
    labels = {name: row["label"] for name, row in present.items()}
    kept, changed_meanwhile = [], []
    for row in decisions.to_pylist():
        # The row as it is now, not as earlier decisions here leave it: one unit's decision may
        # take a token from another unit, about which people then answered before it was taken.
        before = present.get(row["id"])
        if before is None or task.unit_label(before["label"], row["unit"]) != row["previous_label"]:
            changed_meanwhile.append(row)
            continue
        labels[row["id"]] = task.with_unit_label(labels[row["id"]], row["unit"], row["new_label"])
        kept.append({**row, "changed": row["new_label"] != row["previous_label"]})
    if changed_meanwhile and not merging.skip_changed:
        raise Conflict(_told(source, changed_meanwhile, present))
    touched = {row["id"] for row in kept if row["changed"]}
    return _Plan(kept, _updates(source, task, [(present[name], labels[name]) for name in touched]))


def _present(source: Source, ids: set[str]) -> dict[str, Mapping[str, Any]]:
    """id -> the fit row's text forms and its own columns, for the rows that were decided."""
    dataset = tables.open_table(source.uri, source.version).to_pyarrow_dataset()
    wanted = None
    if source.id_column:
        wanted = pads.field(source.id_column).cast(pa.string()).isin(sorted(ids))
    found: dict[str, Mapping[str, Any]] = {}
    for batch in dataset.to_batches(columns=source.columns, filter=wanted):
        own = pa.Table.from_batches([batch])
        checked = check(own, source=source).to_pylist()
        for row, columns in zip(checked, own.to_pylist(), strict=True):
            if row["fault"] is None and row["id"] in ids:
                found[row["id"]] = {**row, "own": columns}
    return found


def _updates(
    source: Source, task: Task, changes: Sequence[tuple[Mapping[str, Any], str]]
) -> pa.Table:
    """Key columns and the new label, in the table's own types."""
    keys = [source.id_column] if source.id_column else list(source.content_columns)
    schema = pa.schema(tables.open_table(source.uri, source.version).schema().to_arrow())
    rows = [
        {
            **{name: row["own"][name] for name in keys},
            source.label_column: task.write_label(label, row["content"]),
        }
        for row, label in changes
    ]
    columns = {
        name: pa.array([row[name] for row in rows]).cast(schema.field(name).type)
        for name in [*keys, source.label_column]
    }
    return pa.table(columns)


def _write(source: Source, plan: _Plan, app_id: str) -> int:
    """Commit the updates against the pinned version: the new version's number."""
    assert source.version is not None
    if not plan.updates.num_rows:
        return source.version
    keys = [name for name in plan.updates.column_names if name != source.label_column]
    table = DeltaTable(source.uri, version=source.version)
    table.merge(
        plan.updates,
        predicate=" AND ".join(f'old."{name}" = new."{name}"' for name in keys),
        source_alias="new",
        target_alias="old",
        commit_properties=tables.once(app_id, **{MERGE_KEY: app_id}),
    ).when_matched_update({f'"{source.label_column}"': f'new."{source.label_column}"'}).execute()
    return table.version()


def _write_lineage(merging: Merging, plan: _Plan, version: int, app_id: str) -> None:
    now = datetime.now(UTC)
    rows = [{**row, "merge_time": now, "dataset_version": version} for row in plan.decisions]
    lineage = pa.Table.from_pylist(rows, schema=tables.LINEAGE)
    tables.append_once(merging.lineage_uri, lineage, app_id=app_id)


def _told(
    source: Source, rows: Sequence[Mapping[str, Any]], present: Mapping[str, Mapping[str, Any]]
) -> str:
    some = "; ".join(
        f"{row['id']!r} was {row['previous_label']!r} and is "
        + (repr(present[row["id"]]["label"]) if row["id"] in present else "gone")
        for row in rows[:TOLD]
    )
    return (
        f"{len(rows)} rows of {source.uri!r} changed since they were mined: {some}; "
        "mine the present version and ask again, or leave these rows alone (--skip-changed)"
    )
