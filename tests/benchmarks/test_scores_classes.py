"""Signals of a row and confident learning, as cleanlab has them."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_normalized_margin_for_each_label, get_self_confidence_for_each_label
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from bench.scores import confident, signals
from bench.scores.confident import ClassSums
from cluster.scores.compact import compact
from tests.support.probability_tables import Table, tables, whole

EXAMPLES = settings(max_examples=50, deadline=None)


@EXAMPLES
@for_all(tables())
def test_signals_equal_cleanlabs(table: Table) -> None:
    probabilities, labels = table
    np.testing.assert_allclose(
        signals.self_confidence(probabilities, labels),
        get_self_confidence_for_each_label(labels, probabilities),
    )
    np.testing.assert_allclose(
        signals.normalized_margin(probabilities, labels),
        get_normalized_margin_for_each_label(labels, probabilities),
    )


@EXAMPLES
@for_all(tables())
def test_signals_keep_their_range_and_direction(table: Table) -> None:
    probabilities, labels = table
    for found in (
        signals.self_confidence(probabilities, labels),
        signals.normalized_margin(probabilities, labels),
    ):
        assert found.shape == labels.shape
        assert ((found >= 0) & (found <= 1)).all()
    loss = signals.loss(probabilities, labels)
    assert (loss >= 0).all()
    least = signals.self_confidence(probabilities, labels).argmin()
    assert loss[least] == pytest.approx(loss.max())


@EXAMPLES
@for_all(tables())
def test_thresholds_flags_and_joint_equal_cleanlabs(table: Table) -> None:
    probabilities, labels = table
    num_classes = probabilities.shape[1]
    rows = whole(probabilities, labels)
    thresholds = ClassSums.of(rows, num_classes).thresholds()
    np.testing.assert_allclose(thresholds, get_confident_thresholds(labels, probabilities))
    joint, wrong = compute_confident_joint(
        labels,
        probabilities,
        thresholds=thresholds,
        calibrate=False,
        return_indices_of_off_diagonals=True,
    )
    np.testing.assert_array_equal(np.flatnonzero(confident.flags(rows, thresholds)), wrong)
    ours = confident.confident_joint(rows, thresholds)
    np.fill_diagonal(ours, ours.diagonal().clip(min=1))
    np.testing.assert_array_equal(ours, joint)


def test_flags_equal_cleanlabs_issues_by_confident_learning() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(5, size=2000)
    labels = np.where(rng.random(2000) < 0.2, rng.integers(5, size=2000), truth)
    logits = rng.normal(size=(2000, 5)) + 3 * np.eye(5)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = compact(probabilities, labels, num_others=4)
    flagged = confident.flags(rows, ClassSums.of(rows, 5).thresholds())
    issues = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    np.testing.assert_array_equal(flagged, issues)
    assert flagged[labels != truth].mean() > 5 * flagged[labels == truth].mean()


@EXAMPLES
@for_all(tables(), st.integers(1, 3))
def test_few_kept_classes_flag_alike_where_they_say_they_are_certain(
    table: Table, num_others: int
) -> None:
    probabilities, labels = table
    full = whole(probabilities, labels)
    thresholds = ClassSums.of(full, probabilities.shape[1]).thresholds()
    some, certain = confident.confident_class(
        compact(probabilities, labels, num_others=num_others), thresholds
    )
    every, all_certain = confident.confident_class(full, thresholds)
    assert all_certain.all()
    np.testing.assert_array_equal(some[certain], every[certain])
    if num_others >= 1 / thresholds.min():
        assert certain.all()


@EXAMPLES
@for_all(tables(), st.integers(1, 5))
def test_sums_of_parts_are_the_sums_of_the_whole(table: Table, num_parts: int) -> None:
    probabilities, labels = table
    num_classes = probabilities.shape[1]
    parts = [
        compact(some, indices, num_others=2)
        for some, indices in zip(
            np.array_split(probabilities, num_parts), np.array_split(labels, num_parts), strict=True
        )
    ]
    rows = compact(probabilities, labels, num_others=2)
    whole_sums = ClassSums.of(rows, num_classes)
    merged = reduce(add, [ClassSums.of(part, num_classes) for part in parts])
    np.testing.assert_array_equal(merged.num_rows, whole_sums.num_rows)
    np.testing.assert_allclose(merged.thresholds(), whole_sums.thresholds())
    np.testing.assert_array_equal(
        sum(confident.confident_joint(part, merged.thresholds()) for part in parts),
        confident.confident_joint(rows, merged.thresholds()),
    )


@EXAMPLES
@for_all(tables())
def test_calibrated_joint_follows_the_label_counts(table: Table) -> None:
    probabilities, labels = table
    num_classes = probabilities.shape[1]
    rows = whole(probabilities, labels)
    sums = ClassSums.of(rows, num_classes)
    joint = confident.calibrated_joint(
        confident.confident_joint(rows, sums.thresholds()), sums.num_rows
    )
    np.testing.assert_allclose(joint.sum(), 1)
    np.testing.assert_allclose(joint.sum(axis=1), sums.num_rows / len(labels), atol=1e-12)
