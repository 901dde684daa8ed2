"""The model-free scores: cluster.noise_scores and cluster.find_label_issues over plain arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score

from cluster import find_label_issues, noise_scores
from relabel_service.errors import InvalidInput

CLASSES = ["ham", "news", "spam"]


def planted(
    num_rows: int = 600, *, sharpness: float = 2.0, seed: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Labels of which a tenth is wrong, probabilities of a model that knows better, and which."""
    randomness = np.random.default_rng(seed)
    gold = randomness.integers(len(CLASSES), size=num_rows)
    logits = randomness.normal(size=(num_rows, len(CLASSES)))
    logits[np.arange(num_rows), gold] += sharpness
    wrong = randomness.random(num_rows) < 0.1
    labels = np.where(wrong, (gold + 1) % len(CLASSES), gold)
    exponents = np.exp(logits)
    return labels, exponents / exponents.sum(axis=1, keepdims=True), wrong


def test_wrong_labels_score_higher_within_0_and_1() -> None:
    labels, pred_probs, wrong = planted()
    scores = noise_scores(labels, pred_probs)
    assert scores.shape == (600,)
    assert scores.dtype == np.float64
    assert 0 <= scores.min() <= scores.max() <= 1
    assert average_precision_score(wrong, scores) > 0.6
    assert scores[wrong].mean() > scores[~wrong].mean() + 0.3


def test_a_better_model_beside_it_helps() -> None:
    labels, first, wrong = planted()
    second = 0.5 * first + 0.5 * np.random.default_rng(7).dirichlet(np.ones(3), size=600)
    alone = average_precision_score(wrong, noise_scores(labels, second))
    assert average_precision_score(wrong, noise_scores(labels, [first, second])) > alone


def test_the_worst_rows_come_first_and_a_threshold_of_0_ranks_all() -> None:
    labels, pred_probs, _ = planted()
    scores = noise_scores(labels, pred_probs)
    found = find_label_issues(labels, pred_probs)
    assert found.dtype == np.int64
    assert (np.diff(scores[found]) <= 0).all()
    assert set(found.tolist()) == set(np.flatnonzero(scores >= 0.5).tolist())
    assert len(find_label_issues(labels, pred_probs, threshold=0)) == len(labels)


def test_names_and_columns_say_the_same() -> None:
    labels, pred_probs, _ = planted()
    names = np.array(CLASSES)[labels]
    assert (
        noise_scores(names, pred_probs, classes=CLASSES) == noise_scores(labels, pred_probs)
    ).all()
    listed = noise_scores(labels.tolist(), pred_probs.tolist())
    assert np.allclose(listed, noise_scores(labels, pred_probs))


def test_no_rows_have_no_scores() -> None:
    assert noise_scores(np.empty(0, np.int64), np.empty((0, 3))).shape == (0,)


LABELS, PROBABILITIES, _ = planted(4)


@pytest.mark.parametrize(
    ("labels", "pred_probs", "classes", "sentence"),
    [
        (LABELS, PROBABILITIES[:, :1], None, "sums to"),
        (LABELS[:3], PROBABILITIES, None, "labels: int64 (3,) for 4 rows"),
        (LABELS + 3, PROBABILITIES, None, "the matrix has 3 columns"),
        (LABELS, PROBABILITIES * 10, None, "row 0 sums to 10; give probabilities"),
        (LABELS, PROBABILITIES - 1, None, "negative or not finite"),
        (LABELS, [PROBABILITIES, PROBABILITIES[:3]], None, "shapes (4, 3), (3, 3)"),
        (LABELS, np.ones((4, 3), int), None, "int64 values; give floats"),
        (["ham"] * 4, PROBABILITIES, None, "name the columns by classes="),
        (["ham"] * 4, PROBABILITIES, ["ham", "spam"], "are 2 (2 distinct) for 3 columns"),
        (["ham", "eggs", "ham", "ham"], PROBABILITIES, CLASSES, "hold 1 that are not among"),
    ],
)
def test_bad_input_is_a_sentence(
    labels: Any, pred_probs: Any, classes: list[str] | None, sentence: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        noise_scores(labels, pred_probs, classes=classes)
    assert sentence in str(raised.value)


def test_a_threshold_is_a_probability() -> None:
    with pytest.raises(InvalidInput, match="threshold: 2 is out of range; use 0 to 1"):
        find_label_issues(LABELS, PROBABILITIES, threshold=2)
