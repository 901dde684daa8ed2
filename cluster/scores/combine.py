"""Several models' views of a row into one prediction, weights learned without gold.

Weights minimise the log-loss of the given labels under out-of-sample
predictions, wrong labels included: a wrong label is as hard to predict for a
good view as for a bad one, so the better view still wins (the log-linear pool of
Genest and Zidek 1986; stacking, Wolpert 1992). Any single view is one setting of
the weights, hence the pool's log-loss is never above its best member's on the
rows it was learned from. One number a view and one a class: a sample of some ten
thousand rows settles them, and workers then pool before they make rows compact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

from cluster.scores.compact import Floats, Ints
from relabel_service.errors import InvalidInput

TINY = 1e-12
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """weights: how much each view counts, 0 or more, [V]. bias: added to each class, [C]."""

    weights: Doubles
    bias: Doubles
    log_loss: float

    def probabilities(self, views: Sequence[Floats]) -> Doubles:
        """Pooled P(class), [R, C], of views as `fit` got them."""
        pooled: Doubles = np.exp(log_softmax(_pooled(self.weights, self.bias, views), axis=1))
        return pooled


def log_view(probabilities: Floats) -> Doubles:
    """A model's probabilities as a view: their logarithms, [R, C]."""
    view: Doubles = np.log(np.maximum(probabilities, TINY)).astype(np.float64)
    return view


def fit(views: Sequence[Floats], given: Ints) -> Pool:
    """Learn the weights from out-of-sample views of the same rows.

    views: each [R, C], larger = likelier: log-probabilities (log_view) or a
    ridge's scores; a lone view gets its temperature this way. given: [R].
    Raises InvalidInput when there is no view or shapes differ.
    """
    if not views or any(view.shape != views[0].shape for view in views):
        shapes = [view.shape for view in views]
        raise InvalidInput.of("views", f"shapes {shapes}; give one or more of one shape")
    num_views, (num_rows, num_classes) = len(views), views[0].shape
    every = np.arange(num_rows)

    def objective(at: Doubles) -> tuple[float, Doubles]:
        logs = log_softmax(_pooled(at[:num_views], at[num_views:], views), axis=1)
        slope = np.exp(logs)
        slope[every, given] -= 1
        by_view = np.array([(view * slope).sum() for view in views])
        gradient = np.concatenate([by_view, slope.sum(axis=0)]) / num_rows
        return float(-logs[every, given].mean()), gradient

    start = np.concatenate([np.ones(num_views), np.zeros(num_classes)])
    bounds = [(0.0, None)] * num_views + [(None, None)] * num_classes
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Pool(found.x[:num_views], found.x[num_views:], float(found.fun))


def _pooled(weights: Doubles, bias: Doubles, views: Sequence[Floats]) -> Doubles:
    pooled = np.tile(bias, (len(views[0]), 1))
    for weight, view in zip(weights, views, strict=True):
        pooled += weight * view
    return pooled
