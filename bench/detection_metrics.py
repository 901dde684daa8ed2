"""How well a ranking and a set of flags find the wrong labels.

suspicion, wrong, flags: one value a row, [R]; ties in suspicion share their rank.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

AT = 100  # rows a person would look at first


@dataclass(frozen=True)
class Quality:
    """All in [0, 1], higher is better. P@100 is of all rows where there are fewer."""

    average_precision: float
    auroc: float
    precision_at_100: float
    f1_of_flags: float

    @classmethod
    def of(cls, suspicion: Floats, flags: Flags, wrong: Flags) -> "Quality":
        found = int((flags & wrong).sum())
        return cls(
            average_precision(suspicion, wrong),
            auroc(suspicion, wrong),
            float(wrong[np.argsort(-suspicion, kind="stable")[:AT]].mean()),
            2 * found / max(int(flags.sum() + wrong.sum()), 1),
        )

    def values(self) -> list[float]:
        return [getattr(self, one.name) for one in fields(self)]


def average_precision(suspicion: Floats, wrong: Flags) -> float:
    """Area under the precision-recall steps; rows of equal suspicion are one step."""
    last, found = _steps(suspicion, wrong)
    gained = np.diff(found, prepend=0)
    return float((gained * found / (last + 1)).sum() / max(found[-1], 1))


def auroc(suspicion: Floats, wrong: Flags) -> float:
    """Chance that a wrong row is more suspect than a right one; ties count half."""
    last, found = _steps(suspicion, wrong)
    right = last + 1 - found
    area = np.trapezoid(np.append(0, found), np.append(0, right))
    return float(area / max(found[-1] * right[-1], 1))


def _steps(suspicion: Floats, wrong: Flags) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Place of the last row of each run of equal suspicion, and wrong rows up to it."""
    order = np.argsort(-suspicion, kind="stable")
    ranked = suspicion[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return last.astype(np.int64), np.cumsum(wrong[order], dtype=np.int64)[last]
