"""Neighbours, leave-one-out ridge and training dynamics, which benchmarks compare with."""

from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from bench.scores import dynamics
from bench.scores.leave_one_out import held_out, leave_one_out
from bench.scores.neighbors import Reference, vote
from cluster.scores.ridge import Moments, Ridge

Array = npt.NDArray[Any]


def clusters(
    seed: int, num_rows: int = 120, num_classes: int = 3, dim: int = 8, spread: float = 0.5
) -> tuple[Array, Array]:
    """Embeddings [R, D] around a centre a class, and the classes [R]."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(num_classes, size=num_rows)
    centres = rng.normal(size=(num_classes, dim))
    return centres[truth] + spread * rng.normal(size=(num_rows, dim)), truth


@for_all(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=15, deadline=None)
def test_leave_one_out_equals_training_without_the_row(seed: int, penalty: float) -> None:
    embeddings, given = clusters(seed, num_rows=30, dim=5)
    ridge = Ridge.of(Moments.of(embeddings, given, 3))
    scores = held_out(ridge, embeddings, given, penalty)
    centred = (embeddings - ridge.center) / ridge.scale
    design = np.concatenate([centred, np.ones((30, 1))], axis=1)
    no_penalty_on_intercept = penalty * np.diag([1.0] * 5 + [0.0])
    for left in range(30):
        kept = np.arange(30) != left
        rows, labels = design[kept], np.eye(3)[given[kept]]
        weights = np.linalg.solve(rows.T @ rows + no_penalty_on_intercept, rows.T @ labels)
        np.testing.assert_allclose(scores[left], design[left] @ weights, atol=1e-8)


@for_all(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_leaving_a_group_out_equals_training_without_it(seed: int) -> None:
    embeddings, given = clusters(seed, num_rows=30, dim=5)
    group = np.random.default_rng(seed).integers(20, size=30)
    ridge = Ridge.of(Moments.of(embeddings, given, 3))
    scores = held_out(ridge, embeddings, given, 1.0, group)
    design = np.concatenate([(embeddings - ridge.center) / ridge.scale, np.ones((30, 1))], axis=1)
    penalty = np.diag([1.0] * 5 + [0.0])
    for left in set(group):
        rows, labels = design[group != left], np.eye(3)[given[group != left]]
        weights = np.linalg.solve(rows.T @ rows + penalty, rows.T @ labels)
        np.testing.assert_allclose(
            scores[group == left], design[group == left] @ weights, atol=1e-7
        )


def test_planted_copies_with_one_wrong_label_fool_single_rows_but_not_groups() -> None:
    embeddings, truth = clusters(7, num_rows=200, dim=30, spread=1.0)
    apart = np.arange(206)
    together = np.where(apart < 6, 0, apart)
    embeddings = np.concatenate([np.repeat(embeddings[:1], 6, axis=0), embeddings])
    wrong = (truth[0] + 1) % 3
    given = np.concatenate([np.full(6, wrong), truth])
    fooled, _ = leave_one_out(embeddings, given, 3, apart)
    told, _ = leave_one_out(embeddings, given, 3, together)
    assert told[0, wrong] < fooled[0, wrong] - 0.1
    assert told[0].argmax() == truth[0]


@for_all(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_ridge_from_merged_moments_is_the_same(seed: int, num_parts: int) -> None:
    embeddings, given = clusters(seed)
    parts = zip(
        np.array_split(embeddings, num_parts), np.array_split(given, num_parts), strict=True
    )
    merged = Ridge.of(reduce(add, [Moments.of(rows, labels, 3) for rows, labels in parts]))
    whole = Ridge.of(Moments.of(embeddings, given, 3))
    np.testing.assert_allclose(
        held_out(merged, embeddings, given, 1.0),
        held_out(whole, embeddings, given, 1.0),
        atol=1e-8,
    )


def test_leave_one_out_does_not_believe_a_planted_label() -> None:
    embeddings, truth = clusters(0, num_rows=300, spread=0.3)
    given = truth.copy()
    given[:20] = (truth[:20] + 1) % 3
    scores, _ = leave_one_out(embeddings, given, 3)
    assert (scores.argmax(axis=1)[:20] == truth[:20]).mean() > 0.9


def brute_vote(embeddings: Array, given: Array, num_classes: int, num_neighbors: int) -> Array:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    frequency = np.bincount(given, minlength=num_classes) / len(given)
    out = []
    for row in range(len(unit)):
        similarity = unit @ unit[row]
        similarity[row] = -np.inf
        near = np.argsort(-similarity)[:num_neighbors]
        weight = np.exp((similarity[near] - 1) / 0.1)
        votes = np.bincount(given[near], weights=weight, minlength=num_classes)
        out.append((num_neighbors * votes / weight.sum() + 2 * frequency) / (num_neighbors + 2))
    return np.array(out)


@for_all(st.integers(0, 1000), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_vote_equals_a_search_row_by_row(seed: int, num_neighbors: int) -> None:
    embeddings, given = clusters(seed, num_rows=40)
    found = vote(
        Reference.of(embeddings, given, 3), embeddings, np.arange(40), num_neighbors=num_neighbors
    )
    np.testing.assert_allclose(found, brute_vote(embeddings, given, 3, num_neighbors), atol=1e-9)


def test_vote_in_parts_is_the_vote_of_the_whole() -> None:
    embeddings, given = clusters(3)
    reference, group = Reference.of(embeddings, given, 3), np.arange(120)
    parts = [vote(reference, embeddings[some], group[some]) for some in np.array_split(group, 4)]
    np.testing.assert_allclose(np.concatenate(parts), vote(reference, embeddings, group))


def test_near_duplicates_of_one_group_do_not_vouch_for_each_other() -> None:
    embeddings, truth = clusters(4, num_rows=200, spread=0.2)
    given = truth.copy()
    copies = np.repeat(embeddings[:1], 12, axis=0)  # a dozen copies with the same wrong label
    embeddings = np.concatenate([copies, embeddings])
    wrong = (truth[0] + 1) % 3
    given = np.concatenate([np.full(12, wrong), given])
    apart = np.arange(len(given))
    together = np.where(apart < 12, 0, apart)
    fooled = vote(Reference.of(embeddings, given, 3), embeddings, apart)
    told = vote(Reference.of(embeddings, given, 3, together), embeddings, together)
    assert fooled[0].argmax() == wrong
    assert told[0].argmax() == truth[0]


def test_a_lone_group_falls_back_on_label_frequencies() -> None:
    embeddings, given = clusters(5, num_rows=6)
    group = np.zeros(6, int)
    found = vote(Reference.of(embeddings, given, 3, group), embeddings, group)
    np.testing.assert_allclose(found, np.tile(np.bincount(given, minlength=3) / 6, (6, 1)))


def test_dynamics_on_a_hand_made_history() -> None:
    p_label = np.array([[0.2, 0.9, np.nan], [0.6, 0.7, np.nan]])
    margin = np.array([[-1.0, 2.0, 1.0, -1.0], [1.0, 3.0, np.nan, -2.0], [-3.0, 1.0, -1.0, -1.0]])
    np.testing.assert_allclose(dynamics.mean_confidence(p_label), [0.4, 0.8, np.nan])
    np.testing.assert_allclose(dynamics.area_under_margin(margin), [-1, 2, 0, -4 / 3])
    np.testing.assert_array_equal(dynamics.forgetting(margin), [1, 0, 1, 3])
