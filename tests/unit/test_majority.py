"""What several people's votes come to."""

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.versions.crowdlab import crowdlab
from relabel_service.errors import InvalidInput
from relabel_service.tables import schemas
from relabel_service.tasks.boxes import Box, write_boxes
from relabel_service.votes.majority import majority
from tests.support.campaigns import finding

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
    return pa.Table.from_pylist(list(votes), schema=schemas.RESULTS)


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


def test_an_adjudicator_outvotes_any_number_of_labelers() -> None:
    [decided] = majority(
        results(
            vote("a", "ann", "spam"),
            vote("a", "bob", "spam"),
            vote("a", "judy", "eggs", role="adjudicator"),
        )
    ).to_pylist()
    assert decided["new_label"] == "eggs"
    assert dict(decided["votes"]) == {"spam": 2, "eggs": 1}


def test_answers_on_gold_items_decide_nothing() -> None:
    assert majority(results(vote("a", "ann", "spam", kind="gold"))).num_rows == 0


CLASSES = ["ham", "spam", "eggs"]


def crowd(seed: int) -> tuple[pa.Table, pa.Table, dict[str, str]]:
    """Three good labelers and two who mostly err, three votes an item; a model right at 0.8."""
    chance = random.Random(seed)
    right = {"ann": 0.9, "bob": 0.9, "cyd": 0.85, "dan": 0.35, "eve": 0.35}
    votes, rows, truths = [], [], {}
    for rank in range(200):
        row_id = f"row-{rank}"
        truths[row_id] = chance.choice(CLASSES)
        wrong = [name for name in CLASSES if name != truths[row_id]]
        for labeler in chance.sample(sorted(right), 3):
            label = truths[row_id] if chance.random() < right[labeler] else chance.choice(wrong)
            votes.append(vote(row_id, labeler, label, rank=rank))
        suggestion = truths[row_id] if chance.random() < 0.8 else chance.choice(wrong)
        rows.append(
            finding(
                rank,
                suggestions=[{"label": suggestion, "probability": 0.8}],
                classes=CLASSES,
            )
        )
    return results(*votes), pa.Table.from_pylist(rows, schema=schemas.FINDINGS), truths


def test_weighing_labelers_and_model_beats_counting_votes() -> None:
    votes, findings, truths = crowd(seed=0)
    decided, quality = crowdlab(votes, findings)

    def accuracy(decisions: pa.Table) -> float:
        decided: dict[str, str] = {row["id"]: row["new_label"] for row in decisions.to_pylist()}
        return sum(decided.get(key) == truth for key, truth in truths.items()) / float(len(truths))

    assert accuracy(decided) > accuracy(majority(votes)) + 0.05
    quality_of = dict(
        zip(quality["labeler"].to_pylist(), quality["quality"].to_pylist(), strict=True)
    )
    assert min(quality_of["ann"], quality_of["bob"], quality_of["cyd"]) > max(
        quality_of["dan"], quality_of["eve"]
    )
    assert sum(quality["num_votes"].to_pylist()) == votes.num_rows


def test_an_adjudicator_outvotes_the_weights_too() -> None:
    votes, findings, truths = crowd(seed=1)
    wrong = next(name for name in CLASSES if name != truths["row-0"])
    scored = results(*votes.to_pylist(), vote("row-0", "judy", wrong, role="adjudicator"))
    decided, _ = crowdlab(scored, findings)
    assert {row["id"]: row["new_label"] for row in decided.to_pylist()}["row-0"] == wrong


def test_weights_need_classes_and_votes() -> None:
    votes, findings, _ = crowd(seed=0)
    with pytest.raises(InvalidInput, match="no classes"):
        crowdlab(votes, findings.slice(0, 0))
    with pytest.raises(InvalidInput, match="no votes"):
        crowdlab(results(vote("a", "ann", None)), findings)
    with pytest.raises(InvalidInput, match="one vote a row"):
        crowdlab(results(vote("row-0", "ann", "ham"), vote("row-1", "bob", "ham")), findings)
    with pytest.raises(InvalidInput, match="no single class"):
        crowdlab(results(vote("row-0", "ann", '[[0,1,"PER"]]')), findings)


def test_boxes_that_are_drawn_nearly_alike_are_one_label() -> None:
    def drawn(x_min: float) -> str:
        return write_boxes([Box("dog", x_min, 0, x_min + 20, 20)])

    votes = [
        vote("a", name, drawn(x_min), task="object_detection", human_label="[]")
        for name, x_min in (("ann", 0.0), ("bob", 1.0), ("cat", 40.0), ("dan", 2.0))
    ]
    [decided] = majority(results(*votes)).to_pylist()
    assert decided["new_label"] == drawn(1.0)  # of the three that agree, the one in the middle
    assert majority(results(*votes[1:3])).num_rows == 0
