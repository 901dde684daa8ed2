"""From votes to decisions: what people together say about a row or unit.

Pure functions over results tables (schemas.RESULTS); they never read a store.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from relabel_service.tasks import task_named
from relabel_service.tasks.agreement import agreed_labels

Key = tuple[str, str]  # row id and unit

# One decision about a row, or a unit of it.
DECISIONS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("previous_label", pa.string()),
        pa.field("new_label", pa.string()),
        pa.field("votes", pa.map_(pa.string(), pa.int64())),
        pa.field("labelers", pa.list_(pa.string())),
        pa.field("decided_time", pa.timestamp("us", tz="UTC")),
        pa.field("campaign", pa.string()),
        pa.field("findings_uri", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("rank", pa.int64()),
        pa.field("fingerprint", pa.string()),
        pa.field("incarnation", pa.string()),
    ]
)


def results_on_rows(results: pa.Table) -> pa.Table:
    """Results without those on gold items, which are not rows of the data set in question."""
    is_gold = pc.fill_null(pc.equal(results["kind"], "gold"), False)
    return results.filter(pc.invert(is_gold))


def majority(results: pa.Table) -> pa.Table:
    """DECISIONS: the label that more than half of the votes agree on, worst finding first.

    results: schemas.RESULTS of one campaign. What an adjudicator says counts alone.
    Skips, escalations and results on gold items are not votes; without a majority
    there is no decision, and the row keeps its label.
    """
    return decisions_of(results, _more_than_half)


def decisions_of(
    results: pa.Table, choose: Callable[[Key, Sequence[Mapping[str, Any]]], str | None]
) -> pa.Table:
    """DECISIONS, with the label that `choose` returns for the votes on each row or unit."""
    votes: dict[Key, list[dict[str, Any]]] = {}
    for row in results_on_rows(results).sort_by("submit_time").to_pylist():
        if row["label"] is not None:
            votes.setdefault((row["id"], row["unit"]), []).append(row)
    decided = []
    for key, rows in votes.items():
        adjudicated = [row for row in rows if row["role"] == "adjudicator"]
        label = _more_than_half(key, adjudicated) if adjudicated else choose(key, rows)
        if label is not None:
            decided.append(_decision(rows, label))
    decided.sort(key=lambda row: (row["rank"], row["unit"]))
    return pa.Table.from_pylist(decided, schema=DECISIONS)


def _more_than_half(key: Key, rows: Sequence[Mapping[str, Any]]) -> str | None:
    task = task_named(rows[0]["task"])
    labels = [row["label"] for row in rows]
    agreed = agreed_labels(labels, task.agree)
    common, number = Counter(agreed).most_common(1)[0]
    if 2 * number <= len(rows):
        return None
    return task.resolve([label for label, of in zip(labels, agreed, strict=True) if of == common])


def _decision(rows: Sequence[Mapping[str, Any]], label: str) -> dict[str, Any]:
    first = rows[0]
    counts = Counter(row["label"] for row in rows)
    return {
        **{name: first[name] for name in ("id", "unit", "campaign", "findings_uri", "run_id")},
        "rank": first["rank"],
        "fingerprint": first.get("fingerprint"),
        "incarnation": first.get("incarnation"),
        "previous_label": first["human_label"],
        "new_label": label,
        "votes": sorted(counts.items()),
        "labelers": sorted(row["labeler"] for row in rows),
        "decided_time": max(row["submit_time"] for row in rows),
    }
