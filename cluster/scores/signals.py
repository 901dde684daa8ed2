"""One row's doubt, from its probabilities: what a worker can say before it knows other rows.

All functions: probabilities [R, C], given [R] (class of each label) -> [R].
Predictions must be out of sample. Inputs are checked as compact.checked does.
"""

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Compact, Floats, checked, compact

TINY = 1e-12  # a probability is taken to be no smaller


def self_confidence(probabilities: npt.ArrayLike, given: npt.ArrayLike) -> Floats:
    """p(label), in [0, 1]; LOWER is worse (Northcutt et al. 2021, section 3.2)."""
    rows, labels = checked(probabilities, given)
    return rows[np.arange(len(rows)), labels]


def normalized_margin(probabilities: npt.ArrayLike, given: npt.ArrayLike) -> Floats:
    """p(label) - max p(other) brought to [0, 1]; LOWER is worse (Northcutt et al. 2021, 3.2)."""
    return margin_of(compact(probabilities, given))


def margin_of(rows: Compact) -> Floats:
    """normalized_margin of compact rows, [R]."""
    margin: Floats = (rows.p_label - rows.p_others[:, 0] + 1) / 2
    return margin


def entropy(probabilities: npt.ArrayLike) -> Floats:
    """Shannon entropy over log C, in [0, 1]; higher is less sure, whatever the label says."""
    rows = np.asarray(probabilities)
    clipped = np.clip(rows, TINY, 1)
    spread: Floats = -(clipped * np.log(clipped)).sum(axis=1) / np.log(rows.shape[1])
    return np.clip(spread, 0, 1)


def loss(probabilities: npt.ArrayLike, given: npt.ArrayLike) -> Floats:
    """-log p(label), in [0, 27.7]; higher is worse. Orders rows as self-confidence does."""
    lost: Floats = -np.log(np.clip(self_confidence(probabilities, given), TINY, 1))
    return lost
