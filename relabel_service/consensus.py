"""From votes to decisions: what people together say of one row or unit.

Pure functions over results tables (tables.RESULTS); they never read a store.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

# One decision about one row, or one unit of it.
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
    ]
)


def majority(results: pa.Table) -> pa.Table:
    """DECISIONS: the label with more than half of the votes, worst finding first.

    results: tables.RESULTS of one campaign. Skips and escalations are no votes;
    without a majority there is no decision, and the row keeps its label.
    """
    votes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in results.to_pylist():
        if row["label"] is not None:
            votes.setdefault((row["id"], row["unit"]), []).append(row)
    decided = [found for rows in votes.values() if (found := _decide(rows)) is not None]
    decided.sort(key=lambda row: (row["rank"], row["unit"]))
    return pa.Table.from_pylist(decided, schema=DECISIONS)


def _decide(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    counts = Counter(row["label"] for row in rows)
    label, number = counts.most_common(1)[0]
    if 2 * number <= len(rows):
        return None
    first = rows[0]
    return {
        **{name: first[name] for name in ("id", "unit", "campaign", "findings_uri", "run_id")},
        "rank": first["rank"],
        "previous_label": first["human_label"],
        "new_label": label,
        "votes": sorted(counts.items()),
        "labelers": sorted(row["labeler"] for row in rows),
        "decided_time": max(row["submit_time"] for row in rows),
    }
