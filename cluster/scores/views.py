"""Views of compact rows: what several models say of a row, pooled without a matrix of all rows.

A view is given as [R, C], larger = likelier (combine.py); rows go through in
blocks, so that only a block's matrices exist at a time, and come out compact.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cluster.scores.combine import Pool
from cluster.scores.compact import Compact, Floats, compact

BLOCK_CELLS = 1 << 21  # rows x classes at a time: 16 MB a view
TINY = 1e-12

Doubles = npt.NDArray[np.float64]
Views = Callable[[slice], list[Floats]]
"""The views of some rows, [rows, C] each."""


def log_view_of(rows: Compact, num_classes: int) -> Doubles:
    """Compact rows as a view, [R, C]: classes that were not kept share what is left evenly."""
    num_rows, kept = rows.others.shape
    num_left = num_classes - 1 - kept
    view = np.zeros((num_rows, num_classes))
    if num_left:
        left = 1 - rows.p_label - rows.p_others.sum(axis=1)
        view += (np.maximum(left, 0) / num_left)[:, None]
    np.put_along_axis(view, rows.others, rows.p_others, axis=1)
    np.put_along_axis(view, rows.given[:, None], rows.p_label[:, None], axis=1)
    logs: Doubles = np.log(np.maximum(view, TINY))
    return logs


def take(rows: Compact, places: slice) -> Compact:
    return Compact(
        rows.given[places], rows.p_label[places], rows.others[places], rows.p_others[places]
    )


def pooled(pool: Pool, views: Views, given: npt.NDArray[np.int64], *, num_others: int) -> Compact:
    """What the pool says of R rows, compact. given: class of each label, [R]."""
    step = max(1, BLOCK_CELLS // len(pool.bias))
    blocks = [
        compact(pool.probabilities(views(at)), given[at], num_others=num_others)
        for at in (slice(start, start + step) for start in range(0, len(given), step))
    ]
    return Compact(
        np.concatenate([one.given for one in blocks]),
        np.concatenate([one.p_label for one in blocks]),
        np.concatenate([one.others for one in blocks]),
        np.concatenate([one.p_others for one in blocks]),
    )
