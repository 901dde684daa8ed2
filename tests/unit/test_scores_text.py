"""Hashed n-grams against a plain loop, and the cross-fitted ridge against one solve a fold."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from bench.scores import cross_fit, grams
from relabel_service.errors import InvalidInput

Array = npt.NDArray[Any]

TEXTS = st.lists(
    st.text(alphabet=st.sampled_from("abé ñ字\n\ud800")).filter(lambda text: len(text) < 30),
    min_size=1,
    max_size=6,
)


def looped(text: str) -> Counter[tuple[int, str]]:
    """Every gram of a text with what kind it is."""
    words = text.lower().split()
    found: Counter[tuple[int, str]] = Counter()
    for length in grams.WORDS:
        for at in range(len(words) - length + 1):
            found[100 + length, " ".join(words[at : at + length])] += 1
    for word in words:
        for length in grams.CHARACTERS:
            marked = f" {word} "
            for at in range(len(marked) - length + 1):
                found[length, marked[at : at + length]] += 1
    return found


@for_all(TEXTS)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_a_loop_over_grams(texts: list[str]) -> None:
    counted = grams.counts(texts)
    assert counted.shape == (len(texts), 1 << grams.BUCKET_BITS)
    for row, text in enumerate(texts):
        assert sorted(counted[row].data) == sorted(looped(text).values())


@for_all(TEXTS)
@settings(max_examples=30, deadline=None)
def test_a_text_hashes_alike_wherever_it_stands(texts: list[str]) -> None:
    together = grams.counts(texts)
    for row, text in enumerate(texts):
        assert (grams.counts([text]) != together[row]).nnz == 0


def test_different_grams_get_different_buckets() -> None:
    words = [f"word{number}" for number in range(300)]
    counted = grams.counts([" ".join(words)])
    assert counted.nnz > 0.98 * len(looped(" ".join(words)))


def test_rows_have_unit_length_and_lone_grams_weigh_nothing() -> None:
    counted = grams.counts(["one two", "two three", "two", ""])
    rows = grams.weigh(counted, grams.rarity(grams.rows_with(counted), 4))
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    np.testing.assert_allclose(length, [1, 1, 1, 0], atol=1e-6)
    assert rows[0].nnz < counted[0].nnz


def sparse_rows(seed: int) -> tuple[csr_matrix, Array, Array]:
    rng = np.random.default_rng(seed)
    given = rng.integers(3, size=90)
    dense = (rng.random((90, 40)) < 0.1) * rng.random((90, 40)) + 0.3 * np.eye(40)[given * 5]
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    return csr_matrix(dense.astype(np.float32)), given, rng.integers(4, size=90)


@for_all(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=15, deadline=None)
def test_all_folds_at_once_equal_one_solve_a_fold(seed: int, penalty: float) -> None:
    rows, given, fold = sparse_rows(seed)
    found = cross_fit.fit(rows, given, fold, num_classes=3, penalty=penalty)
    scores = found.held_out(rows, fold)
    dense, truth = rows.toarray().astype(np.float64), np.eye(3)[given]
    for number in range(4):
        seen = fold != number
        mean = truth[seen].mean(axis=0)
        gram = dense[seen].T @ dense[seen] + penalty * np.eye(40)
        weights = np.linalg.solve(gram, dense[seen].T @ (truth[seen] - mean))
        np.testing.assert_allclose(
            scores[fold == number], dense[fold == number] @ weights + mean, atol=3e-3
        )


def test_new_rows_get_the_mean_of_the_folds_models() -> None:
    rows, given, fold = sparse_rows(0)
    found = cross_fit.fit(rows, given, fold, num_classes=3)
    each = [found.held_out(rows, np.full(90, number)) for number in range(4)]
    np.testing.assert_allclose(found.scores(rows), np.mean(each, axis=0), atol=1e-5)


def test_a_label_does_not_sway_its_own_score() -> None:
    rows, given, fold = sparse_rows(1)
    before = cross_fit.fit(rows, given, fold, num_classes=3).held_out(rows, fold)
    changed = given.copy()
    changed[fold == 0] = (changed[fold == 0] + 1) % 3
    after = cross_fit.fit(rows, changed, fold, num_classes=3).held_out(rows, fold)
    np.testing.assert_allclose(before[fold == 0], after[fold == 0], atol=1e-5)
    assert np.abs(before[fold != 0] - after[fold != 0]).max() > 0.05


@pytest.mark.parametrize("fold", [np.zeros(90, int), np.empty(0, int)])
def test_folds_that_leave_a_model_without_rows_are_refused(fold: Array) -> None:
    rows, given, _ = sparse_rows(2)
    with pytest.raises(InvalidInput, match="fold"):
        cross_fit.fit(rows[: len(fold)], given[: len(fold)], fold, num_classes=3)
