"""How labels go wrong class by class, and from that P(label is wrong) for each row.

A model trained on wrong labels predicts the label a person would give, not the
true class. Two steps undo part of that:

  1. Divide out the label frequencies (to the power TAU): where labels are wrong
     by class, the frequent classes are those that swallowed the others' rows.
  2. Average the resulting beliefs over the rows of each label: a noise matrix
     P(label | true class), which Bayes' rule turns into P(true class | row, label).

Both are as in the latent-class models of Dawid and Skene 1979 and Raykar et al.
2010, one step of them: further rounds confirmed themselves (docs/detection.md).
TAU is the logit adjustment of Menon et al. 2021 at half strength: whether label
frequencies are wrong or right cannot be known without gold.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Compact, Floats, Ints

TAU = 0.5
TINY = 1e-12


def beliefs(rows: Compact, frequency: Floats, tau: float = TAU) -> tuple[Ints, Floats]:
    """Kept classes of each row, label first, and belief that each is true: [R, 1 + M] both.

    frequency: rows given each class, or their share, [C]. Beliefs sum to 1
    along a row: what was not kept counts as impossible.
    """
    classes = np.concatenate([rows.given[:, None], rows.others], axis=1)
    kept = np.concatenate([rows.p_label[:, None], rows.p_others], axis=1).astype(np.float64)
    weight = np.maximum(np.asarray(frequency, np.float64), TINY) ** -tau
    belief = np.maximum(kept, TINY) * weight[classes]
    belief /= belief.sum(axis=1, keepdims=True)
    return classes, belief


def belief_sums(rows: Compact, frequency: Floats, tau: float = TAU) -> npt.NDArray[np.float64]:
    """Summed belief by (true class, label), float64 [C, C]; sums of other rows add up."""
    num_classes = len(frequency)
    classes, belief = beliefs(rows, frequency, tau)
    cells = classes * num_classes + rows.given[:, None]
    total = np.bincount(cells.ravel(), weights=belief.ravel(), minlength=num_classes**2)
    return total.astype(np.float64).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class NoiseModel:
    """What the whole table tells about wrong labels.

    frequency: rows given each class, [C]. matrix: P(label = j | true class = i),
    rows sum to 1, [C, C]. tau: as the sums were made with.
    """

    frequency: Floats
    matrix: npt.NDArray[np.float64]
    tau: float = TAU

    @classmethod
    def of(cls, frequency: Floats, sums: Floats, tau: float = TAU) -> "NoiseModel":
        """From merged label counts [C] and merged belief_sums [C, C].

        One row's worth of belief is added to each class, kept as labelled, so that
        a class without rows does not divide by zero.
        """
        padded = np.asarray(sums, np.float64) + np.eye(len(frequency))
        return cls(frequency, padded / padded.sum(axis=1, keepdims=True), tau)

    def p_wrong(self, rows: Compact) -> npt.NDArray[np.float64]:
        """P(label is wrong), [R], in [0, 1]; higher is worse.

        1 - P(true class = label | row, label) over the kept classes.
        """
        classes, belief = beliefs(rows, self.frequency, self.tau)
        joint = belief * self.matrix[classes, rows.given[:, None]]
        others = joint[:, 1:].sum(axis=1)
        wrong: npt.NDArray[np.float64] = others / np.maximum(joint[:, 0] + others, TINY)
        return wrong


def noise_model(rows: Compact, num_classes: int, tau: float = TAU) -> NoiseModel:
    """The noise model of rows that are all at hand."""
    frequency = np.bincount(rows.given, minlength=num_classes).astype(np.float64)
    return NoiseModel.of(frequency, belief_sums(rows, frequency, tau), tau)
