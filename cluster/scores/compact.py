"""A probability matrix made small: what a worker keeps of a batch.

The label's probability and the few most probable other classes decide every
score here, so the matrix itself never leaves the worker.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel_service.errors import InvalidInput

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

# Rows looked at together are about this large, to stay in a core's cache.
BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class Compact:
    """What is kept of R rows.

    given: class of the label, int64 [R]. p_label: its probability, [R].
    others: the most probable classes but the label's, most probable first,
    int64 [R, M]. p_others: their probabilities, [R, M], falling along a row.
    """

    given: Ints
    p_label: Floats
    others: Ints
    p_others: Floats

    @property
    def best(self) -> Ints:
        """The most probable class, [R]; of equals the lowest, as argmax has it."""
        first, other = self.p_others[:, 0], self.others[:, 0]
        won = (first > self.p_label) | ((first == self.p_label) & (other < self.given))
        return np.where(won, other, self.given)

    @property
    def p_best(self) -> Floats:
        """Its probability, [R]."""
        best: Floats = np.maximum(self.p_label, self.p_others[:, 0])
        return best


def compact(probabilities: npt.ArrayLike, given: npt.ArrayLike, *, num_others: int = 1) -> Compact:
    """Keep the label's probability and the `num_others` most probable other classes.

    probabilities: [R, C], rows sum to 1, out of sample (a model that saw the
    row's label finds it likely). given: class of each label, [R]. Raises
    InvalidInput when the shapes, a class or num_others do not fit.
    """
    rows, labels = checked(probabilities, given)
    num_rows, num_classes = rows.shape
    kept = min(num_others, num_classes - 1)
    if kept < 1:
        raise InvalidInput.of("num_others", f"{num_others} keeps nothing; use 1 or more")
    others = np.empty((num_rows, kept), np.int64)
    p_others = np.empty((num_rows, kept), rows.dtype)
    p_label = np.empty(num_rows, rows.dtype)
    step = max(1, BLOCK_BYTES // (num_classes * rows.itemsize))
    every = np.arange(step)
    for start in range(0, num_rows, step):
        block = rows[start : start + step].copy()
        here, place = every[: len(block)], slice(start, start + step)
        p_label[place] = block[here, labels[place]]
        block[here, labels[place]] = -1
        for rank in range(kept):
            found = block.argmax(axis=1)
            others[place, rank], p_others[place, rank] = found, block[here, found]
            if rank + 1 < kept:
                block[here, found] = -1
    return Compact(labels, p_label, others, p_others)


def checked(probabilities: npt.ArrayLike, given: npt.ArrayLike) -> tuple[Floats, Ints]:
    """Both as arrays. Raises InvalidInput when they do not fit each other."""
    rows, labels = np.asarray(probabilities), np.asarray(given)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InvalidInput.of(
            "probabilities", f"shape {rows.shape}; give one row an item and two or more classes"
        )
    if not np.issubdtype(rows.dtype, np.floating):
        raise InvalidInput.of("probabilities", f"{rows.dtype} values; give floats")
    if labels.shape != rows.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInput.of(
            "given", f"{labels.dtype} {labels.shape} for {len(rows)} rows; give an integer a row"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < rows.shape[1]:
        raise InvalidInput.of(
            "given", f"classes up to {labels.max()}; the matrix has {rows.shape[1]} columns"
        )
    return rows, labels.astype(np.int64, copy=False)
