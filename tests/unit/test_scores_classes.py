"""Compact rows, entropy, noise model and suspicion, against plain numpy."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from cluster.scores import noise
from cluster.scores.compact import BLOCK_ROWS, compact
from cluster.scores.entropy import entropy
from cluster.scores.suspicion import average_with_base, by_chance, suspicion
from relabel_service.errors import InvalidInput
from tests.support.probability_tables import Array, Table, tables, whole

EXAMPLES = settings(max_examples=50, deadline=None)


def test_entropy_is_one_for_even_and_zero_for_certain() -> None:
    np.testing.assert_allclose(entropy(np.array([[0.25] * 4, [1, 0, 0, 0]])), [1, 0], atol=1e-9)


@EXAMPLES
@for_all(tables())
def test_entropy_keeps_its_range(table: Table) -> None:
    spread = entropy(table[0])
    assert spread.shape == table[1].shape
    assert ((spread >= 0) & (spread <= 1)).all()


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
        (np.ones((3, 2)), np.zeros(2, int), "labels"),
        (np.ones((3, 2)), np.zeros(3), "labels"),
        (np.ones((3, 2)), np.array([0, 1, 2]), "labels"),
        (np.ones((3, 2)), np.array([0, 1, -1]), "labels"),
    ],
)
def test_unfit_input_is_named(probabilities: Array, labels: Array, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        compact(probabilities, labels)


def test_keeping_no_other_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="num_others"):
        compact(np.ones((1, 2)) / 2, np.zeros(1, int), num_others=0)


@EXAMPLES
@for_all(tables(), st.integers(1, 5))
def test_beliefs_of_shards_add_up_to_those_of_the_whole(table: Table, num_shards: int) -> None:
    probabilities, labels = table
    num_classes = probabilities.shape[1]
    shards = [
        compact(some, indices, num_others=2)
        for some, indices in zip(
            np.array_split(probabilities, num_shards),
            np.array_split(labels, num_shards),
            strict=True,
        )
    ]
    rows = compact(probabilities, labels, num_others=2)
    np.testing.assert_allclose(
        reduce(add, [noise.belief_sums(shard, num_classes) for shard in shards]),
        noise.belief_sums(rows, num_classes),
        atol=1e-12,
    )


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
def test_suspicion_lies_between_the_two_it_averages(table: Table) -> None:
    probabilities, labels = table
    rows = whole(probabilities, labels)
    model = noise.noise_model(rows, probabilities.shape[1])
    found = suspicion(rows, model)
    both = np.stack([by_chance(rows), model.p_wrong(rows)])
    assert ((found >= both.min(axis=0) - 1e-8) & (found <= both.max(axis=0) + 1e-8)).all()
    np.testing.assert_allclose(average_with_base(found, [found, found]), found, atol=1e-8)


def test_a_label_with_one_strong_rival_is_worse_than_one_that_the_model_is_merely_unsure_of() -> (
    None
):
    """Both have the same p(label): a hard row, whose classes are all about as probable, is not a
    wrong one."""
    rows = whole(np.array([[0.2, 0.8, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]]), np.array([0, 0]))
    model = noise.NoiseModel(np.full((5, 5), 0.2), np.ones(5))
    rival, unsure = suspicion(rows, model)
    assert rival > unsure
    np.testing.assert_allclose(by_chance(rows), [0.8, 0.5])


@for_all(tables())
def test_with_two_classes_chance_leaves_1_minus_p_label(table: Table) -> None:
    probabilities, labels = table
    two = probabilities[:, :2] + 1e-3
    two /= two.sum(axis=1, keepdims=True)
    rows = whole(two, labels % 2)
    np.testing.assert_allclose(by_chance(rows), 1 - rows.p_label, atol=1e-6)


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
    ways = np.stack([by_chance(rows), model.p_wrong(rows), suspicion(rows, model)])
    return ways, labels != truth


@pytest.mark.parametrize("how", ["by chance", "to the most frequent"])
def test_suspicion_beats_the_mean_of_the_two_it_averages_whatever_the_noise(how: str) -> None:
    ways, wrong = flipped(3, how)
    worst = np.argsort(-ways, axis=1)[:, : wrong.sum()]
    chance, classes, both = wrong[worst].mean(axis=1)
    assert both > (chance + classes) / 2
