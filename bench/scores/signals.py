"""Signals of a single row, from its probabilities: nothing of other rows is needed.

All functions: probabilities [R, C], labels [R] (class index of each label) -> [R].
Predictions must be out of sample. Inputs are checked as compact.checked does.
"""

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Compact, Floats, checked, compact

TINY = 1e-12  # a probability is taken to be no smaller


def self_confidence(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """p(label), in [0, 1]; LOWER is worse (Northcutt et al. 2021, section 3.2)."""
    rows, indices = checked(probabilities, labels)
    return rows[np.arange(len(rows)), indices]


def normalized_margin(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """p(label) - max p(other) brought to [0, 1]; LOWER is worse (Northcutt et al. 2021, 3.2)."""
    return margin_of(compact(probabilities, labels))


def margin_of(rows: Compact) -> Floats:
    """normalized_margin of compact rows, [R]."""
    margin: Floats = (rows.p_label - rows.p_others[:, 0] + 1) / 2
    return margin


def loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """-log p(label), in [0, 27.7]; higher is worse. Orders rows as self-confidence does."""
    lost: Floats = -np.log(np.clip(self_confidence(probabilities, labels), TINY, 1))
    return lost
