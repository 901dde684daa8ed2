"""Signals, compact rows, confident learning, noise model: against plain numpy and cleanlab."""

from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_normalized_margin_for_each_label, get_self_confidence_for_each_label
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from bench.scores import confident
from bench.scores.confident import ClassSums
from cluster.scores import noise, signals
from cluster.scores.compact import BLOCK_ROWS, Compact, compact
from cluster.scores.suspicion import hedge, suspicion
from relabel_service.errors import InvalidInput

Array = npt.NDArray[Any]
Table = tuple[Array, Array]

EXAMPLES = settings(max_examples=50, deadline=None)


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 80, max_classes: int = 7) -> Table:
    """Probabilities [R, C] and labels [R]; labels follow the probabilities more or less."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_rows = draw(st.integers(1, max_rows))
    num_classes = draw(st.integers(2, max_classes))
    logits = rng.normal(size=(num_rows, num_classes)) * draw(st.sampled_from([0.0, 1.0, 5.0]))
    if draw(st.booleans()):
        logits = logits.round()  # ties
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(
        rng.random(num_rows) < 0.7,
        probabilities.argmax(axis=1),
        rng.integers(num_classes, size=num_rows),
    )
    return probabilities, labels


def whole(probabilities: Array, labels: Array) -> Compact:
    return compact(probabilities, labels, num_others=probabilities.shape[1] - 1)


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
        signals.entropy(probabilities),
    ):
        assert found.shape == labels.shape
        assert ((found >= 0) & (found <= 1)).all()
    loss = signals.loss(probabilities, labels)
    assert (loss >= 0).all()
    least = signals.self_confidence(probabilities, labels).argmin()
    assert loss[least] == pytest.approx(loss.max())


def test_entropy_is_one_for_even_and_zero_for_certain() -> None:
    np.testing.assert_allclose(
        signals.entropy(np.array([[0.25] * 4, [1, 0, 0, 0]])), [1, 0], atol=1e-9
    )


@EXAMPLES
@for_all(tables(), st.integers(1, 6))
def test_compact_keeps_the_label_and_the_best_others(table: Table, num_others: int) -> None:
    probabilities, labels = table
    rows = compact(probabilities, labels, num_others=num_others)
    every = np.arange(len(labels))
    np.testing.assert_array_equal(rows.p_label, probabilities[every, labels])
    np.testing.assert_array_equal(rows.best, probabilities.argmax(axis=1))
    np.testing.assert_array_equal(rows.p_best, probabilities.max(axis=1))
    others = probabilities.copy()
    others[every, labels] = -1
    order = np.argsort(-others, axis=1, kind="stable")[:, : rows.others.shape[1]]
    np.testing.assert_array_equal(rows.others, order)
    np.testing.assert_array_equal(rows.p_others, np.take_along_axis(others, order, axis=1))


def test_compact_leaves_its_input_alone_and_blocks_do_not_show() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(300), size=1000).astype(np.float32)
    before, labels = probabilities.copy(), rng.integers(300, size=1000)
    rows = compact(probabilities, labels, num_others=2)
    np.testing.assert_array_equal(probabilities, before)
    np.testing.assert_array_equal(rows.best, probabilities.argmax(axis=1))
    assert rows.p_label.dtype == np.float32


@pytest.mark.parametrize(
    ("probabilities", "labels", "field"),
    [
        (np.ones(3), np.zeros(3, int), "probabilities"),
        (np.ones((3, 1)), np.zeros(3, int), "probabilities"),
        (np.ones((3, 2), int), np.zeros(3, int), "probabilities"),
        (np.ones((3, 2)), np.zeros(2, int), "given"),
        (np.ones((3, 2)), np.zeros(3), "given"),
        (np.ones((3, 2)), np.array([0, 1, 2]), "given"),
        (np.ones((3, 2)), np.array([0, 1, -1]), "given"),
    ],
)
def test_unfit_input_is_named(probabilities: Array, labels: Array, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        compact(probabilities, labels)


def test_keeping_no_other_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="num_others"):
        compact(np.ones((1, 2)) / 2, np.zeros(1, int), num_others=0)


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
        compact(some, given, num_others=2)
        for some, given in zip(
            np.array_split(probabilities, num_parts), np.array_split(labels, num_parts), strict=True
        )
    ]
    rows = compact(probabilities, labels, num_others=2)
    whole_sums = ClassSums.of(rows, num_classes)
    merged = reduce(add, [ClassSums.of(part, num_classes) for part in parts])
    np.testing.assert_array_equal(merged.num_rows, whole_sums.num_rows)
    np.testing.assert_allclose(merged.thresholds(), whole_sums.thresholds())
    np.testing.assert_allclose(
        reduce(add, [noise.belief_sums(part, num_classes) for part in parts]),
        noise.belief_sums(rows, num_classes),
        atol=1e-12,
    )
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


@EXAMPLES
@for_all(tables())
def test_p_wrong_is_a_probability_and_rises_with_doubt(table: Table) -> None:
    probabilities, labels = table
    model = noise.noise_model(whole(probabilities, labels), probabilities.shape[1])
    np.testing.assert_allclose(model.matrix.sum(axis=1), 1)
    label = labels[:1]
    other = (label + 1) % probabilities.shape[1]
    steps = np.linspace(0.01, 0.99, 20)
    rows = np.full((20, probabilities.shape[1]), 1e-9)
    rows[:, label[0]], rows[:, other[0]] = 1 - steps, steps
    wrong = model.p_wrong(whole(rows, np.repeat(label, 20)))
    assert ((wrong >= 0) & (wrong <= 1)).all()
    assert (np.diff(wrong) >= -1e-12).all()


def test_planted_swaps_are_seen_in_the_noise_matrix_and_ranked_first() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(3, size=6000)
    swapped = (truth == 0) & (rng.random(6000) < 0.3)
    labels = np.where(swapped, 1, truth)
    logits = 0.5 * rng.normal(size=(6000, 3)) + 4 * np.eye(3)[truth]
    logits[truth == 0, 1] += 3  # as a model that learned from these labels would have it
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = compact(probabilities, labels, num_others=2)
    model = noise.noise_model(rows, 3)
    assert model.matrix[0, 1] == model.matrix[~np.eye(3, dtype=bool)].max()
    worst = np.argsort(-model.p_wrong(rows))[: swapped.sum()]
    assert swapped[worst].mean() > 0.9


@EXAMPLES
@for_all(tables())
def test_suspicion_lies_between_the_answers_it_hedges(table: Table) -> None:
    probabilities, labels = table
    rows = whole(probabilities, labels)
    model = noise.noise_model(rows, probabilities.shape[1])
    found = suspicion(rows, model)
    both = np.stack([1 - rows.p_label, model.p_wrong(rows)])
    assert ((found >= both.min(axis=0) - 1e-8) & (found <= both.max(axis=0) + 1e-8)).all()
    np.testing.assert_allclose(hedge(found, [found, found]), found, atol=1e-8)


@EXAMPLES
@for_all(tables())
def test_suspicion_of_many_rows_is_that_of_each(table: Table) -> None:
    probabilities, labels = table
    rows = whole(probabilities, labels)
    model = noise.noise_model(rows, probabilities.shape[1])
    alone = [suspicion(one, model) for one in rows.blocks(1)]
    times = BLOCK_ROWS // len(labels) + 1  # more than are looked at together
    many = whole(np.tile(probabilities, (times, 1)), np.tile(labels, times))
    np.testing.assert_array_equal(suspicion(many, model), np.tile(np.concatenate(alone), times))
    assert suspicion(whole(probabilities[:0], labels[:0]), model).shape == (0,)


def flipped(seed: int, how: str) -> tuple[Array, Array]:
    """What an imperfect model says, and whether the label it is compared with is wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, p=[0.55, 0.25, 0.15, 0.05], size=8000)
    other = rng.integers(4, size=8000) if how == "by chance" else np.zeros(8000, int)
    labels = np.where(rng.random(8000) < 0.15, other, truth)
    logits = rng.normal(size=(8000, 4)) + 2.5 * np.eye(4)[truth] + np.log([0.55, 0.25, 0.15, 0.05])
    if how == "to the most frequent":
        logits[:, 0] += 0.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = whole(probabilities, labels)
    model = noise.noise_model(rows, 4)
    ways = np.stack([1 - rows.p_label, model.p_wrong(rows), suspicion(rows, model)])
    return ways, labels != truth


@pytest.mark.parametrize("how", ["by chance", "to the most frequent"])
def test_suspicion_beats_the_average_of_its_two_answers_whatever_the_noise(how: str) -> None:
    ways, wrong = flipped(3, how)
    worst = np.argsort(-ways, axis=1)[:, : wrong.sum()]
    chance, classes, hedged = wrong[worst].mean(axis=1)
    assert hedged > (chance + classes) / 2
