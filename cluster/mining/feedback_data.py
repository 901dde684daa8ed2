"""What people have answered, beside what mining said when it asked: what feedback learns from.

The lineage table tells what was decided, and which run's findings asked; these keep
their signals. Decisions about findings that are gone, or that no mining ranked, teach nothing.
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

MEMBER = "suspicion_"  # signals of this beginning are suspicions in their own right
BY_MODELS = f"{MEMBER}by_models"  # before any answer had a say


def learn_from_lineage(lineage_uri: str | None) -> Feedback:
    """What people's decisions in the lineage table teach; nothing without a table."""
    decided = decisions_of_people(lineage_uri, ["id", "unit", "changed", "findings_uri", "run_id"])
    runs: dict[tuple[str, str], dict[tuple[str, str], bool]] = defaultdict(dict)
    for row in decided.to_pylist():
        runs[row["findings_uri"], row["run_id"]][row["id"], row["unit"]] = row["changed"]
    asked = [
        (signals, group, wrong[row["id"], row["unit"]])
        for (uri, run_id), wrong in runs.items()
        for row in _found(uri, run_id)
        if (row["id"], row["unit"]) in wrong and BY_MODELS in (signals := dict(row["signals"]))
        for group in groups_of(row["task"], [row["human_label"]], [row["unit"]])
    ]
    evidence = evidence_from(
        {
            name: np.array([signals.get(name, np.nan) for signals, _, _ in asked])
            for name in dict.fromkeys(chain.from_iterable(signals for signals, _, _ in asked))
        },
        [group for _, group, _ in asked],
    )
    return learn(evidence, np.array([wrong for _, _, wrong in asked], np.bool_))


def evidence_from(signals: Mapping[str, Any], group: Sequence[str]) -> Evidence:
    """Of signals as findings have them, [R] each."""
    members = {
        name: values
        for name, values in signals.items()
        if name.startswith(MEMBER) and name != BY_MODELS
    }
    return Evidence(signals.get(BY_MODELS, np.empty(0)), group, members)


def groups_of(task_name: str, labels: Sequence[str], units: Sequence[str]) -> list[str]:
    """The unit, or the class of the label, or "" where a label is no class; [R]."""
    task = task_named(task_name)
    return [
        unit or (label if task.classes_in(label) else "")
        for label, unit in zip(labels, units, strict=True)
    ]


def _found(findings_uri: str, run_id: str) -> list[dict[str, Any]]:
    """A run's findings and its audit's, as far as they are still there."""
    columns = ["id", "unit", "human_label", "signals", "task"]
    return [
        row
        for uri in (findings_uri, delta.audit_of(findings_uri))
        if delta.is_committed(uri, run_id)
        for row in delta.read_where(uri, {"run_id": run_id}, columns=columns).to_pylist()
    ]
