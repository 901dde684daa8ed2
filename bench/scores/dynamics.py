"""What a row did while a model trained on it, from a few numbers an epoch.

observed: per epoch E and row R, p(label) or the logit margin z(label) - max
z(other), [E, R]; NaN where an epoch did not see the row. In sample by nature,
and in a fold's model only for the rows it trained on. Sums over epochs merge, so
a training keeps them, not the epochs.
"""

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats

Doubles = npt.NDArray[np.float64]


def mean_confidence(p_label: Floats) -> Doubles:
    """Mean p(label) over epochs, in [0, 1], [R]; LOWER is worse (Swayamdipta et al. 2020)."""
    return _mean(p_label)


def area_under_margin(margin: Floats) -> Doubles:
    """Mean logit margin over epochs, any real, [R]; LOWER is worse (Pleiss et al. 2020)."""
    return _mean(margin)


def forgetting(margin: Floats) -> npt.NDArray[np.int64]:
    """Times a row went from right (margin > 0) to wrong, [R]; higher is worse.

    A row that was never right gets E, the number of epochs: more than any that
    was once learned (Toneva et al. 2019, where it is infinite).
    """
    num_epochs = margin.shape[0]
    right = margin > 0  # NaN is not right; an unseen epoch neither learns nor forgets
    forgot = np.zeros(margin.shape[1], np.int64)
    before = np.zeros(margin.shape[1], np.bool_)
    for epoch in range(num_epochs):
        seen = ~np.isnan(margin[epoch])
        forgot += before & seen & ~right[epoch]
        before = np.where(seen, right[epoch], before)
    return np.where(right.any(axis=0), forgot, num_epochs)


def _mean(observed: Floats) -> Doubles:
    """Over the epochs that saw the row; NaN where none did."""
    seen = ~np.isnan(observed)
    total = np.where(seen, observed, 0.0).sum(axis=0)
    count = seen.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
