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

    labels: index of the label's class, int64 [R]. p_label: its probability, [R].
    others: the most probable classes but the label's, most probable first,
    int64 [R, M]. p_others: their probabilities, [R, M], falling along a row.
    """

    labels: Ints
    p_label: Floats
    others: Ints
    p_others: Floats

    def blocks(self, num_rows: int) -> Iterator["Compact"]:
        """The rows in order, num_rows at a time; one block without rows where there are none."""
        for start in range(0, max(len(self.labels), 1), num_rows):
            yield self.take(slice(start, start + num_rows))

    def take(self, at: slice) -> "Compact":
        """Some of the rows."""
        return Compact(self.labels[at], self.p_label[at], self.others[at], self.p_others[at])

    @property
    def best(self) -> Ints:
        """The most probable class, [R]; of equals the lowest, as argmax has it."""
        first, other = self.p_others[:, 0], self.others[:, 0]
        won = (first > self.p_label) | ((first == self.p_label) & (other < self.labels))
        return np.where(won, other, self.labels)

    @property
    def p_best(self) -> Floats:
        """Its probability, [R]."""
        best: Floats = np.maximum(self.p_label, self.p_others[:, 0])
        return best


def compact(probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, num_others: int = 1) -> Compact:
    """Keep the label's probability and the `num_others` most probable other classes.

    probabilities: [R, C], rows sum to 1, out of sample (a model that saw the
    row's label finds it likely). labels: class index of each label, [R]. Raises
    InvalidInput when the shapes, a class or num_others do not fit.
    """
    rows, indices = checked(probabilities, labels)
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
        at = slice(start, start + step)
        block = rows[at].copy()
        # By index in the flat block: by row and column takes several times as long.
        cells, first = block.reshape(-1), every[: len(block)]
        label = first + indices[at]
        p_label[at] = cells.take(label)
        cells[label] = -1
        for rank in range(kept):
            best = block.argmax(axis=1)
            cell = first + best
            others[at, rank], p_others[at, rank] = best, cells.take(cell)
            if rank + 1 < kept:
                cells[cell] = -1
    return Compact(indices, p_label, others, p_others)


def checked(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Ints]:
    """Both as arrays. Raises InvalidInput when they do not fit each other."""
    rows, indices = np.asarray(probabilities), np.asarray(labels)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InvalidInput.of(
            "probabilities", f"shape {rows.shape}; give one row an item and two or more classes"
        )
    if not np.issubdtype(rows.dtype, np.floating):
        raise InvalidInput.of("probabilities", f"{rows.dtype} values; give floats")
    if indices.shape != rows.shape[:1] or not np.issubdtype(indices.dtype, np.integer):
        raise InvalidInput.of(
            "labels", f"{indices.dtype} {indices.shape} for {len(rows)} rows; give an integer a row"
        )
    if len(indices) and not 0 <= indices.min() <= indices.max() < rows.shape[1]:
        raise InvalidInput.of(
            "labels", f"classes up to {indices.max()}; the matrix has {rows.shape[1]} columns"
        )
    return rows, indices.astype(np.int64, copy=False)
