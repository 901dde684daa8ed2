"""What several people's votes come to."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from relabel_service import tables
from relabel_service.consensus import majority

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def vote(row_id: str, labeler: str, label: str | None, **other: Any) -> dict[str, Any]:
    return {
        "campaign": "c",
        "run_id": "run",
        "findings_uri": "findings",
        "task": "text_classification",
        "rank": 0,
        "id": row_id,
        "unit": "",
        "human_label": "ham",
        "suspicion": 0.5,
        "labeler": labeler,
        "decision": "skip" if label is None else "relabel",
        "label": label,
        "comment": "",
        "submit_time": TIME,
    } | other


def results(*votes: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(votes), schema=tables.RESULTS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["row-1", "row-2", "row-3"]),
            st.sampled_from(["ham", "spam", "eggs", None]),
        ),
        max_size=20,
    )
)
def test_a_decision_has_more_than_half_of_the_votes(
    given_votes: list[tuple[str, str | None]],
) -> None:
    votes = [vote(row, f"labeler-{n}", label) for n, (row, label) in enumerate(given_votes)]
    decided = {row["id"]: row for row in majority(results(*votes)).to_pylist()}
    for row_id in ("row-1", "row-2", "row-3"):
        labels = [label for row, label in given_votes if row == row_id and label is not None]
        winners = [label for label, number in Counter(labels).items() if 2 * number > len(labels)]
        assert [decided[row_id]["new_label"]] == winners if winners else row_id not in decided
        if winners:
            assert dict(decided[row_id]["votes"]) == Counter(labels)
            assert len(decided[row_id]["labelers"]) == len(labels)


def test_units_of_a_row_are_decided_one_by_one() -> None:
    decided = majority(
        results(
            vote("a", "ann", "spam", unit="PER", rank=1),
            vote("a", "ann", "ham", unit="LOC", rank=0),
        )
    ).to_pylist()
    assert [(row["unit"], row["new_label"]) for row in decided] == [("LOC", "ham"), ("PER", "spam")]


def test_no_votes_are_no_decisions() -> None:
    assert majority(results()).num_rows == 0
    assert majority(results(vote("a", "ann", None))).num_rows == 0
