"""Errors left, calibration, reliability and the stop rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cluster.scores import calibration
from relabel_service.errors import InvalidInput

Array = npt.NDArray[Any]


def scored(seed: int, num_rows: int = 2000, *, bias: float = 0.0) -> tuple[Array, Array]:
    """P(wrong) as a model says, and what is wrong; bias shifts the model's logit."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-2, 1.5, num_rows)
    wrong = rng.random(num_rows) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-(logit + bias))), wrong


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
        lambda: calibration.reliability(np.empty(0), np.empty(0, bool)),
        lambda: calibration.num_worth_asking(
            np.ones(3), seconds_per_label=0, least_errors_per_minute=1
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        call()
