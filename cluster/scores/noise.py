"""How labels go wrong class by class, and from that P(label is wrong) for each row.

A model trained on wrong labels predicts the label a person would give, not the
true class. Two steps undo part of that:

  1. Average the predictions over the rows of each label: a noise matrix
     P(label | true class), which Bayes' rule turns into P(true class | row, label).
  2. Divide out the label frequencies (to the power TAU): where labels are wrong
     by class, the frequent classes are those that swallowed the others' rows.

Both are as in the latent-class models of Dawid and Skene 1979 and Raykar et al.
2010, one step of them: further rounds confirmed themselves (docs/explanation/scores.md).
TAU is the logit adjustment of Menon et al. 2021 at half strength: whether label
frequencies are wrong or right cannot be known without gold.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import BLOCK_ROWS, Compact, Floats, Ints

TAU = 0.5
TINY = 1e-12


def belief_sums(rows: Compact, num_classes: int) -> npt.NDArray[np.float64]:
    """Summed belief by (true class, label), float64 [C, C]; sums of other rows add up.

    A row's belief in its kept classes sums to 1 (what was not kept counts as
    impossible), so column j sums to the number of rows labelled j.
    """
    # No more cells than rows: otherwise adding blocks up costs more than going over their rows.
    blocks = rows.blocks(max(BLOCK_ROWS, num_classes**2))
    return reduce(add, (_belief_sums(block, num_classes) for block in blocks))


def _belief_sums(rows: Compact, num_classes: int) -> npt.NDArray[np.float64]:
    total = np.maximum(rows.p_label + _row_sums(rows.p_others), TINY)
    cells = _cells(rows, num_classes)
    shares = rows.p_others / total[:, None]
    sums = np.bincount(cells.ravel(), weights=shares.ravel(), minlength=num_classes**2)
    own = np.bincount(rows.labels, weights=rows.p_label / total, minlength=num_classes)
    by_class = sums.astype(np.float64, copy=False).reshape(num_classes, num_classes)
    by_class[np.diag_indices(num_classes)] += own
    return by_class


@dataclass(frozen=True)
class NoiseModel:
    """How the labels of the whole table go wrong.

    matrix: P(label = j | true class = i), rows sum to 1, [C, C]. weight: how much
    more a probability of each class counts for its rarity, [C].
    """

    matrix: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sums: npt.NDArray[np.float64], tau: float = TAU) -> "NoiseModel":
        """From merged belief_sums, [C, C].

        One row's worth of belief is added to each class, kept as labelled, so that
        a class without rows does not divide by zero, or get an infinite weight.
        """
        num_given = np.maximum(sums.sum(axis=0), 1.0)
        matrix = sums.copy()
        matrix[np.diag_indices(len(sums))] += 1
        matrix /= matrix.sum(axis=1, keepdims=True)
        return cls(matrix, num_given**-tau)

    def odds(self, rows: Compact) -> npt.NDArray[np.float64]:
        """P(wrong) / P(right) of each label, [R], in [0, inf); higher is worse."""
        kept = self.weight * np.diag(self.matrix)
        own = np.maximum(rows.p_label, TINY) * kept[rows.labels]
        taken = self.matrix.take(_cells(rows, len(self.matrix))) * self.weight.take(rows.others)
        others = _row_sums(rows.p_others * taken)
        odds: npt.NDArray[np.float64] = np.asarray(others / np.maximum(own, TINY**2), np.float64)
        return odds

    def p_wrong(self, rows: Compact) -> npt.NDArray[np.float64]:
        """P(label is wrong), [R], in [0, 1]; higher is worse.

        1 - P(true class = label | row, label) over the kept classes.
        """
        odds = self.odds(rows)
        return odds / (1 + odds)


def noise_model(rows: Compact, num_classes: int, tau: float = TAU) -> NoiseModel:
    """The noise model of rows that are all at hand."""
    return NoiseModel.of(belief_sums(rows, num_classes), tau)


def _cells(rows: Compact, num_classes: int) -> Ints:
    """Flat index of (other class, label) in a [C, C] matrix, [R, M]."""
    cells: Ints = rows.others * num_classes + rows.labels[:, None]
    return cells


def _row_sums(columns: Floats) -> Floats:
    """[R, M] -> [R]; over a few columns several times as fast as a sum along the row."""
    total: Floats = sum(columns.T[1:], columns.T[0])
    return total
