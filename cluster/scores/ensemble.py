"""The average of several models over many rows, without a matrix of all rows.

Rows go through in blocks, so that only a block's matrices of base scores (stacking.py)
exist at a time, and come out compact. R rows, C classes.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Compact, Floats, Ints, compact
from cluster.scores.stacking import Stacking

BLOCK_CELLS = 1 << 21  # rows x classes at a time: 16 MB a model
TINY = 1e-12

Doubles = npt.NDArray[np.float64]
BaseScores = Callable[[slice], list[Floats]]
"""The base scores of some rows by each model, [rows, C] each."""


def log_probabilities(rows: Compact, num_classes: int) -> Doubles:
    """Compact rows as base scores, [R, C]: classes that were not kept share what is left evenly."""
    num_rows, kept = rows.others.shape
    num_left = num_classes - 1 - kept
    matrix = np.zeros((num_rows, num_classes))
    if num_left:
        left = 1 - rows.p_label - rows.p_others.sum(axis=1)
        matrix += (np.maximum(left, 0) / num_left)[:, None]
    np.put_along_axis(matrix, rows.others, rows.p_others, axis=1)
    np.put_along_axis(matrix, rows.labels[:, None], rows.p_label[:, None], axis=1)
    logs: Doubles = np.log(np.maximum(matrix, TINY))
    return logs


def average(
    stacking: Stacking, base_scores: BaseScores, labels: Ints, *, num_others: int
) -> Compact:
    """The average's predictions of R rows. labels: class index of each label, [R]."""
    step = max(1, BLOCK_CELLS // len(stacking.bias))
    blocks = [
        compact(stacking.probabilities(base_scores(at)), labels[at], num_others=num_others)
        for at in (slice(start, start + step) for start in range(0, len(labels), step))
    ]
    return Compact(
        np.concatenate([block.labels for block in blocks]),
        np.concatenate([block.p_label for block in blocks]),
        np.concatenate([block.others for block in blocks]),
        np.concatenate([block.p_others for block in blocks]),
    )
