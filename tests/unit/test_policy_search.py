"""What a rule gained, and whom it hurt: told from two models' answers on the same rows."""

import numpy as np
import pytest

from cluster.inference.evaluate import PredictedRows
from cluster.tasks import model_task
from jobs.policy.search import KEEP, Trial, chosen, gain, hurt_most

TASK = model_task("text_classification")
IDS = [f"row-{place}" for place in range(400)]
LABELS = ["x", "y"] * 200


def answered(num_wrong: int) -> PredictedRows:
    """The first rows are answered wrongly."""
    answers = [("z" if place < num_wrong else label) for place, label in enumerate(LABELS)]
    return PredictedRows(IDS, answers, LABELS, fingerprints=IDS)


def test_a_gain_is_told_with_how_sure_it_is() -> None:
    value, low, high = gain(TASK, answered(80), answered(40))
    assert value == pytest.approx(0.1)
    assert 0.05 < low < value < high < 0.15


def test_no_change_is_no_gain() -> None:
    assert gain(TASK, answered(40), answered(40)) == (0.0, 0.0, 0.0)


def test_the_best_rule_is_chosen_of_those_that_surely_gain() -> None:
    keep = Trial(KEEP, 0, {}, (0.0, 0.0, 0.0))
    lucky = Trial("lucky", 9, {}, (0.3, -0.1, 0.7))
    sure, surer = (Trial(f"{value}", 9, {}, (value, 0.01, 0.3)) for value in (0.1, 0.2))
    assert chosen([keep, lucky, sure, surer]) == surer
    assert chosen([keep, lucky]) == keep


def test_segments_that_fell_are_told_worst_first_and_small_ones_left_out() -> None:
    quarters = {(name, name): str(place // 100) for place, name in enumerate(IDS)}
    few = {(name, name): "few" if place < 10 else "many" for place, name in enumerate(IDS)}
    before, after = answered(0), answered(150)
    found = hurt_most(TASK, {"quarter": quarters, "few": few}, before, after)
    assert [(one["column"], one["value"]) for one in found] == [
        ("quarter", "0"),
        ("quarter", "1"),
        ("few", "many"),
    ]
    assert found[0] | {"before": 1.0, "after": 0.0, "num_rows": 100} == found[0]


def test_taking_rows_keeps_them_together() -> None:
    one = answered(1).take(np.array([2, 0]).tolist())
    assert (one.ids, one.predicted, one.labels) == (["row-2", "row-0"], ["x", "z"], ["x", "x"])
