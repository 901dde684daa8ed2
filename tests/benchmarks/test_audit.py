"""Errors left by an audit whose rows are drawn by unequal chances."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from bench.scores import audit
from relabel_service.errors import InvalidInput
from tests.support.probability_tables import Array


def scored(seed: int, num_rows: int = 2000, *, bias: float = 0.0) -> tuple[Array, Array]:
    """P(wrong) as a model says, and what is wrong; bias shifts the model's logit."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-2, 1.5, num_rows)
    wrong = rng.random(num_rows) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-(logit + bias))), wrong


@pytest.mark.parametrize("bias", [-2.0, 0.0, 2.0])
def test_the_audits_interval_holds_the_truth_though_the_model_is_wrong(bias: float) -> None:
    covered, found, truth = 0, [], 0
    for seed in range(200):
        p_wrong, wrong = scored(0, bias=bias)
        chances = audit.audit_chances(p_wrong, 300)
        indices = audit.draw_audit(chances, seed)
        left = audit.errors_left_by_audit(
            p_wrong, indices=indices, wrong=wrong[indices], chances=chances
        )
        truth = wrong.sum()
        covered += left.low <= truth <= left.high
        found.append(left.expected)
        assert left.by_audit
        assert left.low <= left.expected <= left.high
    assert covered >= 0.9 * 200
    assert abs(np.mean(found) - truth) < 0.05 * truth


def test_a_good_model_narrows_the_interval() -> None:
    p_wrong, wrong = scored(1)
    flat = np.full_like(p_wrong, 0.5)
    width = []
    for one in (p_wrong, flat):
        chances = audit.audit_chances(one, 300)
        indices = audit.draw_audit(chances, 0)
        left = audit.errors_left_by_audit(
            one, indices=indices, wrong=wrong[indices], chances=chances
        )
        width.append(left.high - left.low)
    assert width[0] < width[1]


@for_all(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_audit_chances_sum_to_what_was_asked(p_wrong: list[float], data: st.DataObject) -> None:
    asked = data.draw(st.integers(1, len(p_wrong)))
    chances = audit.audit_chances(np.array(p_wrong), asked)
    assert ((chances > 0) & (chances <= 1)).all()
    np.testing.assert_allclose(chances.sum(), asked, rtol=1e-6)


def test_auditing_every_row_gives_the_count_itself() -> None:
    p_wrong, wrong = scored(2, num_rows=50)
    left = audit.errors_left_by_audit(
        p_wrong, indices=np.arange(50), wrong=wrong, chances=np.ones(50)
    )
    np.testing.assert_allclose([left.low, left.expected, left.high], [wrong.sum()] * 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: audit.audit_chances(np.ones(3) / 2, 4),
        lambda: audit.errors_left_by_audit(
            np.ones(3), indices=np.empty(0, int), wrong=np.empty(0, bool), chances=np.ones(3)
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        call()
