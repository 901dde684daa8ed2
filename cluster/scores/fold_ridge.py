"""Out-of-fold ridge on dense embeddings, from sums that merge over workers.

Model k learns from the rows whose fold is not k: its moments are the whole
table's less those of fold k (ridge.py has the closed form). The folds are the
training's own, so near-duplicates never vouch for each other, in whatever parts
of the table they lie. K folds, D numbers of an embedding, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats, Ints
from cluster.scores.ridge import PENALTIES, Moments, Ridge
from relabel_service.errors import InvalidInput

SECOND, CROSS = "second", "cross"

Doubles = npt.NDArray[np.float64]


def fold_moments(
    embeddings: Floats, labels: Ints, fold: Ints, *, num_folds: int, num_classes: int
) -> dict[str, Doubles]:
    """Sums of each fold's rows: `second` [K, D+1, D+1] and `cross` [K, D+1, C]; add them up."""
    each = [
        Moments.of(embeddings[fold == number], labels[fold == number], num_classes)
        for number in range(num_folds)
    ]
    return {
        SECOND: np.stack([moments.second for moments in each]),
        CROSS: np.stack([moments.cross for moments in each]),
    }


@dataclass(frozen=True)
class FoldRidge:
    """weights: of [x, 1] in each fold's model, [K, D+1, C]."""

    weights: Doubles

    @classmethod
    def of(cls, sums: Mapping[str, Doubles]) -> "FoldRidge":
        """From merged fold_moments; one penalty for all folds, by held-out square error.

        That error follows from the moments too, so the rows are not read again.
        Raises InvalidInput when a fold's model would learn from fewer than two rows.
        """
        second, cross = sums[SECOND], sums[CROSS]
        if len(second) < 2:
            raise InvalidInput.of("folds", f"{len(second)} leaves no row out; train with 2 or more")
        every = Moments(second.sum(axis=0), cross.sum(axis=0))
        models = [
            Ridge.of(Moments(every.second - out, every.cross - label_out))
            for out, label_out in zip(second, cross, strict=True)
        ]
        tried = [np.stack([_weights(ridge, penalty) for ridge in models]) for penalty in PENALTIES]
        return cls(min(tried, key=lambda weights: _square_error(weights, second, cross)))

    def held_out(self, embeddings: Floats, fold: Ints) -> Doubles:
        """Scores of each row by the model that did not see its fold, [R, C].

        About a probability in scale, but may leave [0, 1]; stacking.fit makes them probabilities.
        """
        scores = np.empty((len(embeddings), self.weights.shape[2]))
        for number, weights in enumerate(self.weights):
            mine = fold == number
            scores[mine] = np.asarray(embeddings[mine], np.float64) @ weights[:-1] + weights[-1]
        return scores


def _weights(ridge: Ridge, penalty: float) -> Doubles:
    """The scores that a ridge gives a row, as weights of [x, 1]."""
    shrunk = ridge.rotated / (ridge.spectrum + penalty)[:, None]
    weights = ridge.basis @ shrunk / ridge.scale
    return np.concatenate([weights, (ridge.mean - ridge.center @ weights)[None]])


def _square_error(weights: Doubles, second: Doubles, cross: Doubles) -> float:
    """Sum over folds of |[x, 1] W - y|^2 on the rows left out, less the constant |y|^2."""
    return float(((second @ weights) * weights).sum() - 2 * (cross * weights).sum())
