"""How many errors are left by an audit whose rows are drawn by unequal chances.

The estimate is design based: right whatever the model says, and the better the model, the
narrower. (The product audits with equal chances.) R rows, A of them audited.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cluster.scores.calibration import Doubles, Flags
from cluster.scores.compact import Floats
from cluster.scores.errors_left import ErrorsLeft
from relabel_service.errors import InvalidInput

FLOOR = 1e-6  # probabilities are kept this far from 0 and 1
LEAST_SHARE = 0.1  # an audit draws each row with at least this share of an even chance


def audit_chances(p_wrong: Floats, num_rows: int) -> Doubles:
    """Chance with which an audit should draw each row, [R], in (0, 1], summing to num_rows.

    Proportional to the standard deviation of "is wrong" (Neyman 1934), with a
    floor for rows that the model is sure of. Raises InvalidInput when num_rows is
    not in [1, R].
    """
    if not 1 <= num_rows <= len(p_wrong):
        raise InvalidInput.of("num_rows", f"{num_rows}; audit 1 to {len(p_wrong)} rows")
    size = np.sqrt(np.clip(p_wrong, FLOOR, 1 - FLOOR) * (1 - np.clip(p_wrong, FLOOR, 1 - FLOOR)))
    size = np.maximum(size / size.mean(), LEAST_SHARE)
    chances: Doubles = size * (num_rows / size.sum())
    while chances.max() > 1 + 1e-9:  # those beyond certainty are drawn; the rest share what is left
        sure = chances >= 1
        rest = num_rows - sure.sum()
        chances = np.where(sure, 1.0, size * (rest / size[~sure].sum()))
    return np.minimum(chances, 1.0)


def draw_audit(chances: Floats, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the drawn rows, each by its own chance (Poisson sampling), ascending."""
    drawn = np.random.default_rng(seed).random(len(chances)) < chances
    return np.flatnonzero(drawn)


def errors_left_by_audit(
    p_wrong: Floats,
    *,
    indices: npt.NDArray[np.int64],
    wrong: Flags,
    chances: Floats,
    confidence: float = 0.95,
) -> ErrorsLeft:
    """Model's sum, corrected by how wrong it was on the audited rows (difference estimator).

    p_wrong: all rows, [R]. indices: audited rows, [A]; wrong: whether people found
    their label wrong, [A]; chances: of being drawn, all rows, [R]. Saerndal et
    al. 1992, section 6.3. Raises InvalidInput when nothing was audited.
    """
    if not len(indices):
        raise InvalidInput.of("indices", "no row was audited; draw some with draw_audit")
    chance = np.asarray(chances, np.float64)[indices]
    drawn_p = np.asarray(p_wrong, np.float64)[indices]
    surprise = (wrong - drawn_p) / chance
    # Divided by the share that was drawn (Hajek), which Poisson sampling leaves to luck.
    drawn_share = (1 / chance).sum() / len(p_wrong)
    mean_surprise = surprise.sum() / drawn_share / len(p_wrong)
    expected = float(p_wrong.sum() + mean_surprise * len(p_wrong))
    residual = (wrong - drawn_p - mean_surprise) / chance / drawn_share
    # A/(A-1) for the fitted mean; rows drawn for certain add no variance.
    count = len(indices)
    variance = float(((1 - chance) * residual**2).sum()) * count / max(count - 1, 1)
    reach = float(ndtri((1 + confidence) / 2)) * np.sqrt(variance)
    num_found = float(np.sum(wrong))
    return ErrorsLeft(
        float(np.clip(expected, num_found, len(p_wrong))),
        max(expected - reach, num_found),
        min(expected + reach, float(len(p_wrong))),
        by_audit=True,
    )
