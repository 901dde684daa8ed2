"""What people have decided, with the signals of the findings that asked: feedback learns from it.

The lineage table has what was decided, and which run's findings asked; the findings have the
signals. Nothing is learned from decisions about findings that are gone or that no mine run ranked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from cluster.scores.feedback import Evidence, Feedback, learn
from relabel_service.tables import delta
from relabel_service.tables.lineage import decisions_of_people
from relabel_service.tasks import task_named

BASE_SCORE = "suspicion_"  # signals of this beginning are suspicions in their own right
BY_MODELS = f"{BASE_SCORE}by_models"  # before feedback had a say
# What findings written by earlier releases call a signal; their tables are not rewritten.
RENAMED = {"suspicion_pool": "suspicion_ensemble"}


def learn_from_lineage(lineage_uri: str | None) -> Feedback:
    """What people's decisions in the lineage table teach; nothing without a table."""
    decided = decisions_of_people(lineage_uri, ["id", "unit", "changed", "findings_uri", "run_id"])
    runs: dict[tuple[str, str], dict[tuple[str, str], bool]] = defaultdict(dict)
    for row in decided.to_pylist():
        runs[row["findings_uri"], row["run_id"]][row["id"], row["unit"]] = row["changed"]
    examples = [
        (signals, group, is_wrong[row["id"], row["unit"]])
        for (uri, run_id), is_wrong in runs.items()
        for row in _findings(uri, run_id)
        if (row["id"], row["unit"]) in is_wrong and BY_MODELS in (signals := _signals(row))
        for group in groups_of(row["task"], [row["human_label"]], [row["unit"]])
    ]
    evidence = evidence_from(
        {
            name: np.array([signals.get(name, np.nan) for signals, _, _ in examples])
            for name in dict.fromkeys(chain.from_iterable(signals for signals, _, _ in examples))
        },
        [group for _, group, _ in examples],
    )
    return learn(evidence, np.array([wrong for _, _, wrong in examples], np.bool_))


def _signals(row: Mapping[str, Any]) -> dict[str, float]:
    return {RENAMED.get(name, name): value for name, value in row["signals"]}


def evidence_from(signals: Mapping[str, Any], group: Sequence[str]) -> Evidence:
    """Of signals as findings have them, [R] each."""
    base_scores = {
        name: values
        for name, values in signals.items()
        if name.startswith(BASE_SCORE) and name != BY_MODELS
    }
    return Evidence(signals.get(BY_MODELS, np.empty(0)), group, base_scores)


def groups_of(task_name: str, labels: Sequence[str], units: Sequence[str]) -> list[str]:
    """The unit, or the class of the label, or "" where a label is not a class; [R]."""
    task = task_named(task_name)
    return [
        unit or (label if task.classes_in(label) else "")
        for label, unit in zip(labels, units, strict=True)
    ]


def _findings(findings_uri: str, run_id: str) -> list[dict[str, Any]]:
    """A run's findings and its audit's, as far as they are still there."""
    columns = ["id", "unit", "human_label", "signals", "task"]
    return [
        row
        for uri in (findings_uri, delta.audit_of(findings_uri))
        if delta.is_committed(uri, run_id)
        for row in delta.read_where(uri, {"run_id": run_id}, columns=columns).to_pylist()
    ]
