"""Exact leave-one-out predictions of a ridge in closed form.

Each row's prediction is that of the model trained without it, for the price of
one model: S = Y - (Y - H Y) / (1 - diag H), H = X (X'X + penalty I)^-1 X' (Allen
1974; Hastie et al. 2009, section 7.10). R rows, D numbers of an embedding, C classes.
"""

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats, Ints
from cluster.scores.ridge import PENALTIES, Moments, Ridge

MOST_LEVERAGE = 1 - 1e-6

Doubles = npt.NDArray[np.float64]


def held_out(
    ridge: Ridge, embeddings: Floats, labels: Ints, penalty: float, group: Ints | None = None
) -> Doubles:
    """Scores of rows that the moments include, each without its own part: [R, C].

    group: rows of one group are left out together, [R]; near-duplicates share
    one, because a copy with the same wrong label would vouch for it. All rows of a group
    must be among these. Scores are about a probability in scale, but may
    leave [0, 1]; stacking.fit brings them to probabilities.
    """
    truth = np.eye(len(ridge.mean))[labels] - ridge.mean
    turned = (np.asarray(embeddings, np.float64) - ridge.center) @ ridge.basis / ridge.scale
    shrunk = turned / (ridge.spectrum + penalty)
    missed = truth - shrunk @ ridge.rotated
    # 1 / num_rows: the mean that was taken off is a fitted parameter too.
    leverage = np.minimum((shrunk * turned).sum(axis=1) + 1 / ridge.num_rows, MOST_LEVERAGE)
    alone = missed / (1 - leverage)[:, None]
    for indices in _shared(group):
        hat = shrunk[indices] @ turned[indices].T + 1 / ridge.num_rows
        rest = np.eye(len(indices)) - np.minimum(hat, MOST_LEVERAGE)
        alone[indices] = np.linalg.solve(rest, missed[indices])
    scores: Doubles = truth - alone + ridge.mean
    return scores


def leave_one_out(
    embeddings: Floats, labels: Ints, num_classes: int, group: Ints | None = None
) -> tuple[Doubles, float]:
    """Scores [R, C] and the penalty among PENALTIES with the least leave-one-out square error.

    group: as in held_out.
    """
    ridge = Ridge.of(Moments.of(embeddings, labels, num_classes))
    truth = np.eye(num_classes)[labels]

    def error(penalty: float) -> float:
        scores = held_out(ridge, embeddings, labels, penalty, group)
        return float(((scores - truth) ** 2).mean())

    best = min(PENALTIES, key=error)
    return held_out(ridge, embeddings, labels, best, group), best


def _shared(group: Ints | None) -> list[Ints]:
    """Indices of each group's rows, for groups of two or more."""
    if group is None:
        return []
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0)) if len(group) else group
    return [indices for indices in np.split(order, starts[1:]) if len(indices) > 1]
