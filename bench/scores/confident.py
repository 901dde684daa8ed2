"""Confident learning from sums that merge (Northcutt et al. 2021, section 3.1).

Two looks: the first adds up each class's self-confidence, which gives the
thresholds; the second counts, row by row, label against confident class.
Neither needs more of a row than its compact form.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Compact, Floats, Ints

NONE = -1  # the confident class of a row that is sure of nothing
UNREACHABLE = 2.0
SLACK = 1e-6  # a probability this much below a threshold still reaches it, as in cleanlab


@dataclass(frozen=True)
class ClassSums:
    """What the thresholds need of some rows: add those of other rows with `+`.

    num_rows: rows given each class, int64 [C]. self_confidence: the sum of
    p(label) over them, float64 [C].
    """

    num_rows: Ints
    self_confidence: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Compact, num_classes: int) -> "ClassSums":
        counts = np.bincount(rows.labels, minlength=num_classes)
        confidence = np.bincount(rows.labels, weights=rows.p_label, minlength=num_classes)
        return cls(counts, confidence.astype(np.float64))

    def __add__(self, other: "ClassSums") -> "ClassSums":
        return ClassSums(
            self.num_rows + other.num_rows, self.self_confidence + other.self_confidence
        )

    def thresholds(self) -> npt.NDArray[np.float64]:
        """Mean p(label) of the rows given each class, in [0, 1], [C].

        A class that no row is given gets UNREACHABLE: nothing is confidently it.
        """
        mean = self.self_confidence / np.maximum(self.num_rows, 1)
        return np.where(self.num_rows > 0, np.maximum(mean, 2 * SLACK), UNREACHABLE)


def confident_class(rows: Compact, thresholds: Floats) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The class each row confidently is (NONE if none), and whether that is certain: both [R].

    A class is confident when its probability reaches its threshold; of several
    the row's most probable class counts, as in cleanlab. An answer is uncertain
    only if a class that was not kept could reach the lowest threshold: keeping
    1 / min(thresholds) others makes all certain.
    """
    best, least = rows.best, thresholds - SLACK
    label_reaches = rows.p_label >= least[rows.labels]
    others_reach = rows.p_others >= least[rows.others]
    num_reaching = label_reaches + others_reach.sum(axis=1)
    first_other = rows.others[np.arange(len(best)), others_reach.argmax(axis=1)]
    only = np.where(label_reaches, rows.labels, first_other)
    found = np.where(num_reaching > 1, best, np.where(num_reaching == 1, only, NONE))
    all_kept = rows.others.shape[1] + 1 == len(thresholds)
    certain = (
        (rows.p_best >= least[best]) | (rows.p_others[:, -1] < least.min()) | np.array(all_kept)
    )
    return found, certain


def flags(rows: Compact, thresholds: Floats) -> npt.NDArray[np.bool_]:
    """Whether confident learning calls the label wrong: confidently another class, [R]."""
    found, _ = confident_class(rows, thresholds)
    wrong: npt.NDArray[np.bool_] = (found != NONE) & (found != rows.labels)
    return wrong


def confident_joint(rows: Compact, thresholds: Floats) -> Ints:
    """Rows by (label, confident class), int64 [C, C]; counts of other rows add up."""
    num_classes = len(thresholds)
    found, _ = confident_class(rows, thresholds)
    sure = found != NONE
    cells = rows.labels[sure] * num_classes + found[sure]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def calibrated_joint(joint: Ints, num_rows: Ints) -> npt.NDArray[np.float64]:
    """P(label = i, true class = j), float64 [C, C], summing to 1; its rows follow num_rows.

    joint: merged confident_joint. num_rows: rows given each class, [C].
    """
    counts = joint.astype(np.float64)
    np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
    counts *= (num_rows / counts.sum(axis=1))[:, None]
    joint_shares: npt.NDArray[np.float64] = counts / counts.sum()
    return joint_shares
