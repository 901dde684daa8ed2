"""How labels go wrong class by class, and from that P(label is wrong) for each row.

A model trained on wrong labels predicts the label a person would give, not the
true class. Two steps undo part of that:

  1. Average the predictions over the rows of each label: a noise matrix
     P(label | true class), which Bayes' rule turns into P(true class | row, label).
  2. Divide out the label frequencies (to the power TAU): where labels are wrong
     by class, the frequent classes are those that swallowed the others' rows.

Both are as in the latent-class models of Dawid and Skene 1979 and Raykar et al.
2010, one step of them: further rounds confirmed themselves (docs/detection.md).
TAU is the logit adjustment of Menon et al. 2021 at half strength: whether label
frequencies are wrong or right cannot be known without gold.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Compact

TAU = 0.5
TINY = 1e-12


def belief_sums(rows: Compact, num_classes: int) -> npt.NDArray[np.float64]:
    """Summed belief by (true class, label), float64 [C, C]; sums of other rows add up.

    A row's belief in its kept classes sums to 1 (what was not kept counts as
    impossible), so column j sums to the number of rows given class j.
    """
    own = np.maximum(rows.p_label, TINY)
    others = np.maximum(rows.p_others, TINY)
    total = own + others.sum(axis=1)
    sums = np.zeros(num_classes**2)
    for classes, belief in [(rows.given, own), *zip(rows.others.T, others.T, strict=True)]:
        cells = classes * num_classes + rows.given
        sums += np.bincount(cells, weights=belief / total, minlength=num_classes**2)
    return sums.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class NoiseModel:
    """What the whole table tells about wrong labels.

    matrix: P(label = j | true class = i), rows sum to 1, [C, C]. weight: how much
    more a probability of each class counts for its rarity, [C].
    """

    matrix: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sums: npt.NDArray[np.float64], tau: float = TAU) -> "NoiseModel":
        """From merged belief_sums, [C, C].

        One row's worth of belief is added to each class, kept as labelled, so that
        a class without rows does not divide by zero, or weigh without end.
        """
        num_given = np.maximum(sums.sum(axis=0), 1.0)
        padded = sums + np.eye(len(sums))
        return cls(padded / padded.sum(axis=1, keepdims=True), num_given**-tau)

    def odds(self, rows: Compact) -> npt.NDArray[np.float64]:
        """P(wrong) / P(right) of each label, [R], in [0, inf); higher is worse."""
        joint = self.weight[:, None] * self.matrix
        own = np.maximum(rows.p_label, TINY) * np.diag(joint)[rows.given]
        others = rows.p_others * joint[rows.others, rows.given[:, None]]
        odds: npt.NDArray[np.float64] = others.sum(axis=1) / np.maximum(own, TINY**2)
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
