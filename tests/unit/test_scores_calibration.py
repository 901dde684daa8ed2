"""Errors left, calibration, reliability and the stop rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from cluster.scores import calibration
from relabel_service.errors import InvalidInput

Array = npt.NDArray[Any]


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
        chances = calibration.audit_chances(p_wrong, 300)
        places = calibration.draw_audit(chances, seed)
        left = calibration.errors_left_by_audit(
            p_wrong, places=places, wrong=wrong[places], chances=chances
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
        chances = calibration.audit_chances(one, 300)
        places = calibration.draw_audit(chances, 0)
        left = calibration.errors_left_by_audit(
            one, places=places, wrong=wrong[places], chances=chances
        )
        width.append(left.high - left.low)
    assert width[0] < width[1]


@for_all(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_audit_chances_sum_to_what_was_asked(p_wrong: list[float], data: st.DataObject) -> None:
    asked = data.draw(st.integers(1, len(p_wrong)))
    chances = calibration.audit_chances(np.array(p_wrong), asked)
    assert ((chances > 0) & (chances <= 1)).all()
    np.testing.assert_allclose(chances.sum(), asked, rtol=1e-6)


def test_auditing_every_row_gives_the_count_itself() -> None:
    p_wrong, wrong = scored(2, num_rows=50)
    left = calibration.errors_left_by_audit(
        p_wrong, places=np.arange(50), wrong=wrong, chances=np.ones(50)
    )
    np.testing.assert_allclose([left.low, left.expected, left.high], [wrong.sum()] * 3)


def test_without_an_audit_the_range_holds_the_models_sum() -> None:
    p_wrong, _ = scored(3)
    left = calibration.errors_left_by_model(p_wrong)
    assert not left.by_audit
    assert left.expected == pytest.approx(p_wrong.sum())
    assert left.low <= left.expected <= left.high


def test_reliability_counts_every_row_and_brackets_what_it_saw() -> None:
    p_wrong, wrong = scored(5, num_rows=103)
    curve = calibration.reliability(p_wrong, wrong)
    assert curve.num_rows.sum() == 103
    assert ((curve.low <= curve.observed + 1e-12) & (curve.observed <= curve.high + 1e-12)).all()
    assert (np.diff(curve.predicted) >= 0).all()


def test_asking_stops_where_errors_become_rare() -> None:
    p_wrong = np.concatenate([np.full(100, 0.9), np.full(900, 0.01)])
    ask = calibration.num_worth_asking(p_wrong, seconds_per_label=10, least_errors_per_minute=1.0)
    assert ask == 100
    everything = calibration.num_worth_asking(
        p_wrong, seconds_per_label=10, least_errors_per_minute=0.01
    )
    assert everything == 1000


@pytest.mark.parametrize(
    "call",
    [
        lambda: calibration.audit_chances(np.ones(3) / 2, 4),
        lambda: calibration.reliability(np.empty(0), np.empty(0, bool)),
        lambda: calibration.num_worth_asking(
            np.ones(3), seconds_per_label=0, least_errors_per_minute=1
        ),
        lambda: calibration.errors_left_by_audit(
            np.ones(3), places=np.empty(0, int), wrong=np.empty(0, bool), chances=np.ones(3)
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        call()
