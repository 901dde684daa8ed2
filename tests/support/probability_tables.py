"""Made-up probability matrices and labels, for tests of scores."""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from cluster.scores.compact import Compact, compact

Array = npt.NDArray[Any]
Table = tuple[Array, Array]


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
    """Compact rows that keep every class."""
    return compact(probabilities, labels, num_others=probabilities.shape[1] - 1)
