"""The checker finds each kind of broken promise."""

from typing import Any

import pytest

from tests.support.history import History, LeaseSpan


def row(rank: int, labeler: str, label: str) -> dict[str, Any]:
    return {"rank": rank, "labeler": labeler, "label": label}


def sound() -> History:
    return History(
        spans=[LeaseSpan(0, "ann", 0.0, 1.0), LeaseSpan(0, "bob", 1.0, 2.0)],
        accepted=[(0, "bob", "ham")],
        unknown=[(1, "ann", "spam")],
    )


@pytest.mark.parametrize("stored", [[], [row(1, "ann", "spam")]])
def test_a_sound_history_passes_whatever_became_of_what_failed(stored: list[Any]) -> None:
    assert sound().faults([row(0, "bob", "ham"), *stored], votes_required=1) == []


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ([], "lost"),
        ([row(0, "bob", "spam")], "never sent"),
        ([row(0, "bob", "ham"), row(0, "bob", "ham")], "stored twice"),
        ([row(0, "bob", "ham"), row(0, "ann", "ham")], "2 votes on 0"),
        ([row(0, "bob", "ham"), row(0, "bob", "spam")], "twice the same labeler"),
    ],
)
def test_results_that_break_a_promise_are_told(stored: list[Any], fault: str) -> None:
    assert any(fault in message for message in sound().faults(stored, votes_required=1))


def test_leases_at_once_are_told() -> None:
    history = sound()
    history.spans.append(LeaseSpan(0, "cyd", 0.5, 0.6))
    faults = history.faults([row(0, "bob", "ham")], votes_required=1)
    assert faults == ["2 leases at once on 0"]
