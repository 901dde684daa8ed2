"""What a rule decides about rows by itself, without people: set, drop or weight.

It acts on findings, hence on predictions that did not see the row. A rule cannot
tell a wrong label from a hard row: whoever uses one must measure the next model on
labels that no rule has touched (jobs/policy and jobs/self_refine.py do).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.rows import Source, check, read
from cluster.engine.base import Engine
from cluster.io.folder import Folder
from cluster.versions.plan import Action, WriteConfig, as_held, was_shown
from cluster.versions.write import WriteResult, write
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tasks import task_named

WEIGHT = "weight"  # the weight column where the user names none
PREVIEW = "rows"  # the preview's folder, and the beginning of its files' names
LABEL_RANK = "label_rank"  # signal: rank of the human label among the model's classes, 1 the best


@dataclass(frozen=True)
class Rule:
    """What to do with which findings: those for which every condition given holds.

    least: least suspicion. top: at most so many, the worst. outside_top: the human label
    is not among the model's so many best classes.
    weight: what a row counts under WEIGHT; None for 1 - suspicion.
    """

    action: Action
    least: float = 0.0
    top: int | None = None
    outside_top: int | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise InvalidInput.of("threshold", f"{self.least} is out of range; use 0 to 1")
        for name in ("top", "outside_top"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput.of(name, f"{value} is too small; use 1 or more")
        if self.weight is not None and self.weight < 0:
            raise InvalidInput.of("weight", f"{self.weight} is below 0; use 0 or more")

    def __str__(self) -> str:
        """In words that differ between rules; no `/`, so that it may name a folder."""
        words = [
            self.action.value,
            f"suspicion>={self.least:g}" if self.least else "",
            f"worst-{self.top}" if self.top is not None else "",
            f"outside-top-{self.outside_top}" if self.outside_top is not None else "",
            f"weight={self.weight:g}" if self.weight is not None else "",
        ]
        return "-".join(word for word in words if word)


def decide(findings: pa.Table, rule: Rule) -> list[dict[str, Any]]:
    """The rule's decisions (WriteConfig.decisions), worst first.

    findings: schemas.FINDINGS of one run. A finding without another label to set is left alone.
    Raises InvalidInput when the rule asks for the top K of a task without classes.
    """
    chosen = findings.filter(pc.greater_equal(findings["suspicion"], rule.least))
    if rule.outside_top is not None and chosen.num_rows:
        label_ranks = pc.map_lookup(chosen["signals"], pa.scalar(LABEL_RANK), "first")
        if label_ranks.null_count:
            raise InvalidInput.of(
                "outside_top",
                f"{rule.outside_top} given, but {chosen['task'][0].as_py()} ranks no classes; "
                "use a threshold",
            )
        chosen = chosen.filter(pc.greater(label_ranks, rule.outside_top))
    rows = chosen.sort_by("rank").to_pylist()
    if rule.action is Action.SET:
        rows = [row for row in rows if _other(row) is not None]
    now = datetime.now(UTC)
    return [_decision(row, rule, now) for row in rows[: rule.top]]


def apply(
    source: Source, findings_uri: str, run_id: str, rule: Rule, *, lineage_uri: str
) -> WriteResult:
    """Write the rule's version of a Delta table. Raises as versions.write and decide."""
    decisions = decide(delta.read_run(findings_uri, run_id), rule)
    asked_by = {"findings_uri": findings_uri, "run_id": run_id}
    return write(
        WriteConfig(
            source=source,
            decisions=[{**row, **asked_by} for row in decisions],
            app_id=f"policy/{run_id}/{rule}",
            lineage_uri=lineage_uri,
            action=rule.action,
            policy=str(rule),
            weight_column=source.weight_column or WEIGHT,
        )
    )


def preview(
    engine: Engine,
    source: Source,
    *,
    decisions: Sequence[Mapping[str, Any]],
    rule: Rule,
    out: str,
) -> Source:
    """The rows that apply would leave, as parquet in the folder `out`: to train on before deciding.

    Holds the id, content, label and weight columns alone; replaces an earlier preview there.
    """
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for row in decisions:
        for row_id in (row["id"], *(row.get("copies") or ())):
            by_id.setdefault(row_id, []).append(row)
    folder = Folder(out)
    folder.delete(PREVIEW)
    changed = read(engine, source).map(partial(changed_rows, source=source, rule=rule, by_id=by_id))
    changed.write_shards(folder, PREVIEW, attempt=PREVIEW)
    return Source(
        folder.address(PREVIEW),
        source.task,
        source.content_columns,
        source.label_column,
        source.id_column,
        weight_column=source.weight_column or WEIGHT,
        media_prefixes=source.opened_under,
    )


def changed_rows(
    batch: pa.Table,
    *,
    source: Source,
    rule: Rule,
    by_id: Mapping[str, Sequence[Mapping[str, Any]]],
) -> pa.Table:
    """The user's rows as the rule would leave them, with a weight each. by_id: decisions."""
    task, weight_column = task_named(source.task), source.weight_column or WEIGHT
    checked = check(batch, source=source).to_pylist()
    labels = batch[source.label_column].to_pylist()
    weights = [row["weight"] for row in checked]
    kept = np.ones(batch.num_rows, np.bool_)
    kind = batch.schema.field(source.label_column).type
    for index, row in enumerate(checked):
        of_row = [
            decision
            for decision in (by_id.get(row["id"], []) if row["fault"] is None else [])
            if was_shown(decision, row["content"], row["label"], task)
        ]
        if not of_row:
            continue
        kept[index] = rule.action is not Action.DROP
        if rule.action is Action.WEIGHT:
            weights[index] = min(decision["weight"] for decision in of_row)
        if rule.action is Action.SET:
            label = row["label"]
            for decision in of_row:
                label = task.with_unit_label(label, decision["unit"], decision["new_label"])
            labels[index] = as_held(task.write_label(label, row["content"], labels[index]), kind)
    names = [
        name for name in batch.column_names if name not in (source.label_column, weight_column)
    ]
    table = batch.select(names).append_column(source.label_column, pa.array(labels, kind))
    return table.append_column(weight_column, pa.array(weights, pa.float64())).filter(kept)


def _other(row: Mapping[str, Any]) -> str | None:
    """The best suggestion that is another label than the human one."""
    labels = (suggestion["label"] for suggestion in row["suggestions"])
    return next((label for label in labels if label != row["human_label"]), None)


def _decision(row: Mapping[str, Any], rule: Rule, now: datetime) -> dict[str, Any]:
    new_label = {Action.SET: _other(row), Action.DROP: None}.get(rule.action, row["human_label"])
    weight = 1 - row["suspicion"] if rule.weight is None else rule.weight
    return {
        "id": row["id"],
        "unit": row["unit"],
        "previous_label": row["human_label"],
        "new_label": new_label,
        "weight": weight if rule.action is Action.WEIGHT else None,
        "votes": [],
        "labelers": [],
        "decided_time": now,
        "rank": row["rank"],
        "fingerprint": content_fingerprint(row["content"]),
        "copies": row.get("copies"),
    }
