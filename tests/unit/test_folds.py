"""Folds follow from ids alone, and near-duplicates stay together."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.folds import Folds, id_keys
from cluster.data.near_duplicates import band_keys, groups, least_hashes
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from relabel_service.tasks.shingles import shingles

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


@given(st.lists(st.text(), min_size=1, max_size=8))
def test_a_text_has_the_same_hashes_whatever_is_beside_it(texts: list[str]) -> None:
    alone = [least_hashes([text])[0] for text in texts]
    assert (least_hashes(texts) == alone).all()
    assert (band_keys(texts) == np.concatenate([band_keys([text]) for text in texts])).all()


@given(st.text(min_size=5, max_size=40), st.integers(2, 4))
def test_only_which_runs_a_text_has_counts(text: str, times: int) -> None:
    again = text * times
    runs = shingles(again)
    assert (least_hashes([again]) == least_hashes([again + again[-len(text) :]])).all() == (
        runs == shingles(again + again[-len(text) :])
    )


@pytest.mark.parametrize("num_shared", [200, 400, 700])
def test_hashes_agree_as_often_as_the_runs_do(num_shared: int) -> None:
    letters = random.Random(num_shared)

    def text(length: int) -> str:
        return "".join(letters.choices("abcdefgh ", k=length))

    rates = []
    for _ in range(40):
        shared = text(num_shared)
        one, other = shared + text(200), shared + text(200)
        alike = (least_hashes([one]) == least_hashes([other])).mean()
        jaccard = len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
        rates.append(alike - jaccard)
    # 40 means of NUM_HASHES yes-or-no values have a standard error of about 0.011.
    assert abs(np.mean(rates)) < 0.05


def test_near_duplicates_share_a_fold_and_others_do_not_move() -> None:
    texts = {
        "a": "The committee meets on Tuesday morning in the large hall of the city library",
        "b": "the committee meets on tuesday morning in the large hall of the city library!",
        "c": "The committee meets on Tuesday morning in the large hall of the city libraries",
        "d": "Heavy rain is expected along the coast until the end of the week, they said",
        "e": "A new bridge over the river was opened by the mayor after years of delay",
    }
    compared = task_named("text_classification").compared_text
    bands = band_keys([compared(text) or "" for text in texts.values()])
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
