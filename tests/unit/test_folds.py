"""Folds follow from ids alone, and near-duplicates stay together."""

import random

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.folds import Folds, id_keys
from cluster.data.near_duplicates import NUM_HASHES, SEED, band_keys, groups
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named

ids = st.lists(st.text(min_size=1), min_size=1, max_size=50, unique=True)


@given(ids, st.integers(2, 9), st.randoms())
def test_a_row_keeps_its_fold_whatever_is_beside_it(
    names: list[str], num_folds: int, randomness: random.Random
) -> None:
    folds = Folds(num_folds)
    together = dict(zip(names, folds.of(names), strict=True))
    randomness.shuffle(names)
    assert dict(zip(names, folds.of(names), strict=True)) == together
    assert all(folds.of([name])[0] == fold for name, fold in together.items())
    assert set(together.values()) <= set(range(num_folds))


def test_folds_are_about_the_same_size() -> None:
    sizes = np.bincount(Folds(5).of([f"row-{place}" for place in range(5000)]))
    assert sizes.min() > 900
    assert sizes.max() < 1100


@pytest.mark.parametrize("number", [-1, 1])
def test_too_few_folds_are_refused(number: int) -> None:
    with pytest.raises(InvalidInput, match=str(number)):
        Folds(number)


def test_the_hashes_are_those_of_a_sketch_for_each_text() -> None:
    rows = [{b"one", b"two", b"three"}, set[bytes](), {b"two"}]
    found = band_keys(rows)
    for row, keys in zip(rows, found, strict=True):
        sketch = MinHash(NUM_HASHES, SEED, scheme="affine32")
        sketch.update_batch(row)
        least = sketch.hashvalues.astype(np.uint64).reshape(len(keys), -1)
        expected = np.arange(len(keys), dtype=np.uint64)
        for column in least.T:
            expected = (expected ^ column) * np.uint64(0x100000001B3)
        assert (keys == expected).all()


def test_near_duplicates_share_a_fold_and_others_do_not_move() -> None:
    texts = {
        "a": "The committee meets on Tuesday morning in the large hall of the city library",
        "b": "the committee meets on tuesday morning in the large hall of the city library!",
        "c": "The committee meets on Tuesday morning in the large hall of the city libraries",
        "d": "Heavy rain is expected along the coast until the end of the week, they said",
        "e": "A new bridge over the river was opened by the mayor after years of delay",
    }
    shingles = task_named("text_classification").shingles
    bands = band_keys([shingles(text) or () for text in texts.values()])
    found = groups(id_keys(list(texts)), bands)
    assert set(found[:, 0]) == set(id_keys(["a", "b", "c"]))
    assert len(set(found[:, 1])) == 1
    for num_folds in range(2, 12):
        with_groups, alone = (
            Folds(num_folds, found).of(list(texts)),
            Folds(num_folds).of(list(texts)),
        )
        assert len(set(with_groups[:3])) == 1
        assert list(with_groups[3:]) == list(alone[3:])


def test_rows_that_are_alike_to_none_are_in_no_group() -> None:
    bands = np.arange(24, dtype=np.uint64).reshape(3, 8)
    assert groups(id_keys(["a", "b", "c"]), bands).shape == (0, 2)
