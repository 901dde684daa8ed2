"""The average of several models: its weights, and the ridge that may be one of them."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from cluster.scores import stacking
from cluster.scores.ridge import Moments, Ridge
from relabel_service.errors import InvalidInput

Array = npt.NDArray[Any]


def noisy_models(seed: int, sharpness: Sequence[float]) -> tuple[list[Array], Array, Array]:
    """Log-probabilities of 3 classes by models of these strengths, noisy labels, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=1500)
    labels = np.where(rng.random(1500) < 0.15, rng.integers(3, size=1500), truth)
    models = []
    for strength in sharpness:
        logits = rng.normal(size=(1500, 3)) + strength * np.eye(3)[truth]
        models.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return models, labels, truth


@for_all(
    st.integers(0, 1000),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=4),
)
@settings(max_examples=20, deadline=None)
def test_the_average_fits_no_worse_than_its_best_model(
    seed: int, sharpness: Sequence[float]
) -> None:
    models, labels, _ = noisy_models(seed, sharpness)
    stacked = stacking.fit(models, labels)
    probabilities = stacked.probabilities(models)
    assert (stacked.weights >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    alone = [stacking.fit([scores], labels).log_loss for scores in models]
    assert stacked.log_loss <= min(alone) + 1e-3


def test_a_useless_model_gets_hardly_any_weight_and_costs_nothing_on_new_rows() -> None:
    models, labels, truth = noisy_models(6, [3.0, 0.0])
    half = slice(0, 750), slice(750, None)
    stacked = stacking.fit([scores[half[0]] for scores in models], labels[half[0]])
    assert stacked.weights[1] < 0.1 * stacked.weights[0]
    new = stacked.probabilities([scores[half[1]] for scores in models]).argmax(axis=1)
    alone = models[0][half[1]].argmax(axis=1)
    assert (new == truth[half[1]]).mean() > (alone == truth[half[1]]).mean() - 0.01


@pytest.mark.parametrize("models", [[], [np.zeros((3, 2)), np.zeros((3, 3))]])
def test_base_scores_of_unlike_shapes_are_refused(models: list[Array]) -> None:
    with pytest.raises(InvalidInput, match="base_scores"):
        stacking.fit(models, np.zeros(3, int))


@for_all(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_ridge_from_merged_moments_is_the_same(seed: int, num_shards: int) -> None:
    rng = np.random.default_rng(seed)
    labels, embeddings = rng.integers(3, size=120), rng.normal(size=(120, 8))
    shards = zip(
        np.array_split(embeddings, num_shards), np.array_split(labels, num_shards), strict=True
    )
    merged = Ridge.of(reduce(add, [Moments.of(rows, indices, 3) for rows, indices in shards]))
    whole = Ridge.of(Moments.of(embeddings, labels, 3))
    for ridge in (merged, whole):
        np.testing.assert_allclose(ridge.mean, np.bincount(labels, minlength=3) / 120)
        np.testing.assert_allclose(ridge.center, embeddings.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(merged.spectrum, whole.spectrum)
    np.testing.assert_allclose(
        merged.basis @ merged.rotated, whole.basis @ whole.rotated, atol=1e-9
    )


def test_ridge_of_one_row_is_refused() -> None:
    with pytest.raises(InvalidInput, match="needs two"):
        Ridge.of(Moments.of(np.ones((1, 2)), np.zeros(1, int), 2))
