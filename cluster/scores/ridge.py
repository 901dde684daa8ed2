"""Ridge regression of one-hot labels on embeddings, in closed form (Hastie et al. 2009, 3.4.1).

X'X and X'Y are sums over rows: workers add them up, and any worker then scores its own rows.
R rows, D numbers of an embedding, C classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats, Ints
from relabel_service.errors import InvalidInput

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # per row of typical length

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over rows z = [x, 1]: z z' [D+1, D+1], z y' with one-hot y [D+1, C]. Add with `+`."""

    second: Doubles
    cross: Doubles

    @classmethod
    def of(cls, embeddings: Floats, labels: Ints, num_classes: int) -> "Moments":
        rows = _extended(embeddings)
        cross = np.stack(
            [rows.T @ (labels == number).astype(np.float64) for number in range(num_classes)],
            axis=1,
        )
        return cls(rows.T @ rows, cross)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.second + other.second, self.cross + other.cross)


@dataclass(frozen=True)
class Ridge:
    """A solved ridge: scores of a row are ((x - center) / scale) @ weights + mean.

    mean: share of each class, [C]. basis, spectrum: eigenvectors [D, D] and
    eigenvalues [D] of the centred, scaled X'X. rotated: basis' X'Y, [D, C].
    """

    center: Doubles
    scale: float
    mean: Doubles
    basis: Doubles
    spectrum: Doubles
    rotated: Doubles
    num_rows: float

    @classmethod
    def of(cls, moments: Moments) -> "Ridge":
        """Raises InvalidInput when there are fewer than two rows."""
        num_rows = float(moments.second[-1, -1])
        if num_rows < 2:
            raise InvalidInput.of("embeddings", f"{num_rows:g} rows; leave-one-out needs two")
        total = moments.second[-1, :-1]
        center, mean = total / num_rows, moments.cross[-1] / num_rows
        second = moments.second[:-1, :-1] - np.outer(total, center)
        scale = float(np.sqrt(max(np.trace(second) / num_rows, 1e-12)))
        cross = (moments.cross[:-1] - np.outer(total, mean)) / scale
        spectrum, basis = np.linalg.eigh(second / scale**2)
        return cls(center, scale, mean, basis, np.maximum(spectrum, 0), basis.T @ cross, num_rows)


def _extended(embeddings: Floats) -> Doubles:
    rows = np.asarray(embeddings, np.float64)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
