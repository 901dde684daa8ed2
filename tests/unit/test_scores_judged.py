"""Judged rows, as the classification tasks write them, read back as compact rows."""

import numpy as np
import pyarrow as pa
import pytest

from cluster.scores.compact import compact
from cluster.scores.judged import compact_rows
from cluster.scores.noise import NoiseModel, belief_sums
from cluster.scores.suspicion import suspicion
from cluster.tasks.classification import judge
from relabel_service.errors import InvalidInput


@pytest.mark.parametrize("num_classes", [2, 3, 8])
def test_judged_rows_are_the_compact_rows_of_the_matrix(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(num_classes), size=200).astype(np.float32)
    given = rng.integers(num_classes, size=200)
    classes = [f"class {number}" for number in range(num_classes)]
    judged = judge(probabilities, given, classes)
    found = compact_rows(pa.concat_tables([judged[:50], judged[50:]]), classes)
    expected = compact(probabilities, given, num_others=min(2, num_classes - 1))
    np.testing.assert_array_equal(found.given, expected.given)
    np.testing.assert_array_equal(found.others, expected.others)
    np.testing.assert_allclose(found.p_label, expected.p_label)
    np.testing.assert_allclose(found.p_others, expected.p_others)


def test_suspicion_of_parts_is_that_of_the_whole_table() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), size=90).astype(np.float32)
    given = rng.integers(4, size=90)
    classes = list("abcd")
    judged = judge(probabilities, given, classes)
    parts = [compact_rows(judged[:30], classes), compact_rows(judged[30:], classes)]
    model = NoiseModel.of(sum((belief_sums(part, 4) for part in parts), np.zeros((4, 4))))
    apart = np.concatenate([suspicion(part, model) for part in parts])
    whole = compact_rows(judged, classes)
    together = suspicion(whole, NoiseModel.of(belief_sums(whole, 4)))
    np.testing.assert_allclose(apart, together)


def test_an_empty_part_has_no_rows() -> None:
    judged = judge(np.full((1, 3), 1 / 3, np.float32), np.zeros(1, np.int64), list("abc"))
    assert len(compact_rows(judged[:0], list("abc")).given) == 0


def test_a_lone_suggestion_is_refused() -> None:
    judged = judge(np.full((1, 3), 1 / 3, np.float32), np.zeros(1, np.int64), list("abc"))
    lone = pa.array([[{"label": "a", "probability": 1.0}]])
    place = judged.column_names.index("suggestions")
    with pytest.raises(InvalidInput, match="suggestions"):
        compact_rows(judged.set_column(place, "suggestions", lone), list("abc"))
