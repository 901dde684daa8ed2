"""Ridge regression onto one-hot labels, with exact leave-one-out predictions in closed form.

Each row's prediction is that of the model trained without it, for the price of
one model: S = Y - (Y - H Y) / (1 - diag H), H = X (X'X + penalty I)^-1 X' (Allen
1974; Hastie et al. 2009, section 7.10). X'X and X'Y are sums over rows: workers
add them up, and any worker then scores its own rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats, Ints
from relabel_service.errors import InvalidInput

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # per row of typical length
MOST_LEVERAGE = 1 - 1e-6

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over rows z = [x, 1]: z z' [D+1, D+1], z y' with one-hot y [D+1, C]. Add with `+`."""

    second: Doubles
    cross: Doubles

    @classmethod
    def of(cls, embeddings: Floats, given: Ints, num_classes: int) -> "Moments":
        rows = _extended(embeddings)
        cross = np.stack(
            [rows.T @ (given == number).astype(np.float64) for number in range(num_classes)],
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

    def leave_one_out(
        self, embeddings: Floats, given: Ints, penalty: float, group: Ints | None = None
    ) -> Doubles:
        """Scores of rows that the moments include, each without its own part: [R, C].

        group: rows of one group are left out together, [R]; near-duplicates share
        one, lest a copy with the same wrong label vouch for it. All rows of a group
        must be among those given. Scores are about a probability in scale, but may
        leave [0, 1]; combine.fit brings them to probabilities.
        """
        labels = np.eye(len(self.mean))[given] - self.mean
        turned = (np.asarray(embeddings, np.float64) - self.center) @ self.basis / self.scale
        shrunk = turned / (self.spectrum + penalty)
        missed = labels - shrunk @ self.rotated
        # 1 / num_rows: the mean that was taken off is a fitted parameter too.
        leverage = np.minimum((shrunk * turned).sum(axis=1) + 1 / self.num_rows, MOST_LEVERAGE)
        alone = missed / (1 - leverage)[:, None]
        for places in _shared(group):
            hat = shrunk[places] @ turned[places].T + 1 / self.num_rows
            rest = np.eye(len(places)) - np.minimum(hat, MOST_LEVERAGE)
            alone[places] = np.linalg.solve(rest, missed[places])
        scores: Doubles = labels - alone + self.mean
        return scores


def leave_one_out(
    embeddings: Floats, given: Ints, num_classes: int, group: Ints | None = None
) -> tuple[Doubles, float]:
    """Scores [R, C] and the penalty among PENALTIES with the least leave-one-out square error.

    group: as in Ridge.leave_one_out.
    """
    ridge = Ridge.of(Moments.of(embeddings, given, num_classes))
    truth = np.eye(num_classes)[given]

    def error(penalty: float) -> float:
        scores = ridge.leave_one_out(embeddings, given, penalty, group)
        return float(((scores - truth) ** 2).mean())

    best = min(PENALTIES, key=error)
    return ridge.leave_one_out(embeddings, given, best, group), best


def _shared(group: Ints | None) -> list[Ints]:
    """Places of each group's rows, for groups of two or more."""
    if group is None:
        return []
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0)) if len(group) else group
    return [places for places in np.split(order, starts[1:]) if len(places) > 1]


def _extended(embeddings: Floats) -> Doubles:
    rows = np.asarray(embeddings, np.float64)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
