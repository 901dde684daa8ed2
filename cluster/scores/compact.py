"""A probability matrix made small: what a worker keeps of a batch.

The label's probability and the few most probable other classes decide every
score here, so the matrix itself never leaves the worker.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel_service.errors import InvalidInput

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

# What is looked at together, so little that it stays in a core's cache: bytes of a matrix, and rows
# of the few numbers that are kept.
BLOCK_BYTES = 1 << 18
BLOCK_ROWS = 1 << 15


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

    def blocks(self, num_rows: int) -> Iterator["Compact"]:
        """The rows in order, num_rows at a time; one block without rows where there are none."""
        for start in range(0, max(len(self.given), 1), num_rows):
            here = slice(start, start + num_rows)
            yield Compact(
                self.given[here], self.p_label[here], self.others[here], self.p_others[here]
            )

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
    every = np.arange(step) * num_classes
    for start in range(0, num_rows, step):
        place = slice(start, start + step)
        block = rows[place].copy()
        # By places in the flat block: by row and column takes several times as long.
        cells, first = block.reshape(-1), every[: len(block)]
        label = first + labels[place]
        p_label[place] = cells.take(label)
        cells[label] = -1
        for rank in range(kept):
            found = block.argmax(axis=1)
            cell = first + found
            others[place, rank], p_others[place, rank] = found, cells.take(cell)
            if rank + 1 < kept:
                cells[cell] = -1
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
