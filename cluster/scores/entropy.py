"""How unsure a prediction is, whatever the label says."""

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats

TINY = 1e-12  # a probability is taken to be no smaller


def entropy(probabilities: npt.ArrayLike) -> Floats:
    """Shannon entropy over log C, in [0, 1]; higher is less sure: [R, C] -> [R]."""
    rows = np.asarray(probabilities)
    clipped = np.clip(rows, TINY, 1)
    spread: Floats = -(clipped * np.log(clipped)).sum(axis=1) / np.log(rows.shape[1])
    return np.clip(spread, 0, 1)
