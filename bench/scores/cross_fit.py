"""Out-of-fold ridge scores on sparse rows: all folds in one solve.

Every fold's model is a ridge in its dual form, (X X' + penalty I) a = Y, over the
rows it may see, solved by conjugate gradients (Hestenes and Stiefel 1952). One
step is X (X' P) for all folds and classes together, so K folds read the data as
often as one would. Over workers X' P is the one sum to merge; all else is row by
row. Rows of unit length make `penalty` mean the same on every data set.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from cluster.scores.compact import Ints
from relabel_service.errors import InvalidInput

MAX_STEPS = 20
TOLERANCE = 1e-3  # of the residual's length, relative

Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CrossFit:
    """One linear model a fold. weights: [F, K, C]; mean: share of each class, [K, C]."""

    weights: Singles
    mean: Singles

    def scores(self, rows: csr_matrix) -> Singles:
        """Scores of new rows, mean over the folds' models: [R, C]."""
        num_features, num_folds, num_classes = self.weights.shape
        flat = self.weights.reshape(num_features, -1)
        every = np.asarray(rows @ flat).reshape(-1, num_folds, num_classes)
        scores: Singles = (every + self.mean).mean(axis=1)
        return scores

    def held_out(self, rows: csr_matrix, fold: Ints) -> Singles:
        """Scores of each row by the model that did not see its fold: [R, C]."""
        scores = np.empty((rows.shape[0], self.mean.shape[1]), np.float32)
        for number, mean in enumerate(self.mean):
            mine = fold == number
            scores[mine] = rows[mine] @ self.weights[:, number] + mean
        return scores


def fit(
    rows: csr_matrix, given: Ints, fold: Ints, *, num_classes: int, penalty: float = 1.0
) -> CrossFit:
    """Model k learns from the rows whose fold is not k.

    rows: [R, F]; given: class, [R]; fold: in [0, K), [R]. Scores are about a
    probability in scale, but may leave [0, 1]. Raises InvalidInput when a fold
    holds every row, or there are fewer than two folds.
    """
    num_folds = int(fold.max()) + 1 if len(fold) else 0
    may_see = (fold[:, None] != np.arange(num_folds)).astype(np.float32)
    if num_folds < 2 or not may_see.any(axis=0).all():
        raise InvalidInput.of("fold", f"{num_folds} folds leave a model without rows; use more")
    truth = np.eye(num_classes, dtype=np.float32)[given]
    mean = ((may_see.T @ truth) / may_see.sum(axis=0)[:, None]).astype(np.float32)
    target = ((truth[:, None, :] - mean) * may_see[:, :, None]).astype(np.float32)
    mask = np.repeat(may_see, num_classes, axis=1)
    dual = _solve(rows, target.reshape(len(given), -1), mask, penalty)
    weights = np.asarray(rows.T @ dual).reshape(-1, num_folds, num_classes)
    return CrossFit(weights, mean)


def _solve(rows: csr_matrix, target: Singles, mask: Singles, penalty: float) -> Singles:
    """Conjugate gradients, one system a column; columns share the products."""
    turned = rows.T.tocsr()
    solution, residual = np.zeros_like(target), target.copy()
    direction = residual.copy()
    size = _lengths(residual)
    enough = TOLERANCE**2 * size
    for _ in range(MAX_STEPS):
        image = mask * (rows @ (turned @ direction)) + penalty * direction
        step = size / np.maximum((direction * image).sum(axis=0), 1e-20)
        solution += step * direction
        residual = residual - step * image
        before, size = size, _lengths(residual)
        if (size <= enough).all():
            break
        direction = residual + (size / np.maximum(before, 1e-20)) * direction
    return solution


def _lengths(columns: Singles) -> Singles:
    lengths: Singles = np.einsum("ij,ij->j", columns, columns)
    return lengths
