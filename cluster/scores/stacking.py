"""Several models' predictions of a row into one average, its weights learned without gold.

Weights minimise the log-loss of the labels under out-of-sample predictions, wrong
labels included: a wrong label is as hard to predict for a good model as for a bad
one, so the better model still wins (the log-linear pool of Genest and Zidek 1986;
stacking, Wolpert 1992). Any single model is one setting of the weights, hence the
average's log-loss is never above its best model's on the rows it was learned from.
One number a model and one a class: a sample of some ten thousand rows settles them,
and workers then average before they make rows compact.

Base scores are what a model says of R rows, [R, C], larger = likelier:
log-probabilities, or a ridge's scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

from cluster.scores.compact import Floats, Ints
from relabel_service.errors import InvalidInput

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stacking:
    """weights: how much each model counts, 0 or more, [models]. bias: added to each class, [C].

    log_loss: mean over the rows that it was learned from.
    """

    weights: Doubles
    bias: Doubles
    log_loss: float

    def probabilities(self, base_scores: Sequence[Floats]) -> Doubles:
        """The average's P(class), [R, C]. base_scores: of each model in the order of `fit`."""
        logits = _weighted_sum(self.weights, self.bias, base_scores)
        average: Doubles = np.exp(log_softmax(logits, axis=1))
        return average


def fit(base_scores: Sequence[Floats], labels: Ints) -> Stacking:
    """Learn the weights from out-of-sample base scores of the same rows.

    base_scores: [R, C] of each model; a lone model gets its temperature this way.
    labels: class index of each label, [R]. Raises InvalidInput when there is no model or
    shapes differ.
    """
    if not base_scores or any(scores.shape != base_scores[0].shape for scores in base_scores):
        shapes = [scores.shape for scores in base_scores]
        raise InvalidInput.of("base_scores", f"shapes {shapes}; give one or more of one shape")
    num_models, (num_rows, num_classes) = len(base_scores), base_scores[0].shape
    every = np.arange(num_rows)

    def objective(at: Doubles) -> tuple[float, Doubles]:
        logs = log_softmax(_weighted_sum(at[:num_models], at[num_models:], base_scores), axis=1)
        slope = np.exp(logs)
        slope[every, labels] -= 1
        by_model = np.array([(scores * slope).sum() for scores in base_scores])
        gradient = np.concatenate([by_model, slope.sum(axis=0)]) / num_rows
        return float(-logs[every, labels].mean()), gradient

    start = np.concatenate([np.ones(num_models), np.zeros(num_classes)])
    bounds = [(0.0, None)] * num_models + [(None, None)] * num_classes
    best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Stacking(best.x[:num_models], best.x[num_models:], float(best.fun))


def _weighted_sum(weights: Doubles, bias: Doubles, base_scores: Sequence[Floats]) -> Doubles:
    total = np.tile(bias, (len(base_scores[0]), 1))
    for weight, scores in zip(weights, base_scores, strict=True):
        total += weight * scores
    return total
