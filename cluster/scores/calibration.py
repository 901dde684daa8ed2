"""How many errors are left, whether probabilities mean what they say, and when to stop.

Without gold the number of errors rests on the noise model's assumptions and no
interval is honest; with a small audit (rows drawn by `audit_chances` and judged by
people) it is design based: right whatever the model says, and the better the
model, the narrower.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cluster.scores.compact import Floats
from relabel_service.errors import InvalidInput

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FLOOR = 1e-6  # probabilities are kept this far from 0 and 1
LEAST_SHARE = 0.1  # an audit draws each row with at least this share of an even chance


@dataclass(frozen=True)
class ErrorsLeft:
    """A number of wrong labels with its interval. by_audit: false where only a model says so."""

    expected: float
    low: float
    high: float
    by_audit: bool


def errors_left_by_model(p_wrong: Floats) -> ErrorsLeft:
    """Sum of P(label is wrong), and a range over assumptions, not a confidence interval.

    low: only what is more likely wrong than not, and only its excess over a
    coin's toss; high: twice the expected number, at most all rows.
    """
    expected = float(p_wrong.sum())
    low = float(np.maximum(2 * p_wrong - 1, 0).sum())
    return ErrorsLeft(expected, low, min(2 * expected, float(len(p_wrong))), by_audit=False)


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
    """Places of the drawn rows, each by its own chance (Poisson sampling), ascending."""
    drawn = np.random.default_rng(seed).random(len(chances)) < chances
    return np.flatnonzero(drawn)


def errors_left_by_audit(
    p_wrong: Floats,
    *,
    places: npt.NDArray[np.int64],
    wrong: Flags,
    chances: Floats,
    confidence: float = 0.95,
) -> ErrorsLeft:
    """Model's sum, corrected by how wrong it was on the audited rows (difference estimator).

    p_wrong: all rows, [R]. places: audited rows, [A]; wrong: whether people found
    their label wrong, [A]; chances: of being drawn, all rows, [R]. Saerndal et
    al. 1992, section 6.3. Raises InvalidInput when nothing was audited.
    """
    if not len(places):
        raise InvalidInput.of("places", "no row was audited; draw some with draw_audit")
    chance = np.asarray(chances, np.float64)[places]
    drawn_p = np.asarray(p_wrong, np.float64)[places]
    surprise = (wrong - drawn_p) / chance
    # Divided by the share that was drawn (Hajek), which Poisson sampling leaves to luck.
    drawn_share = (1 / chance).sum() / len(p_wrong)
    mean_surprise = surprise.sum() / drawn_share / len(p_wrong)
    expected = float(p_wrong.sum() + mean_surprise * len(p_wrong))
    residual = (wrong - drawn_p - mean_surprise) / chance / drawn_share
    # A/(A-1) for the fitted mean; rows drawn for certain add no variance.
    count = len(places)
    variance = float(((1 - chance) * residual**2).sum()) * count / max(count - 1, 1)
    reach = float(ndtri((1 + confidence) / 2)) * np.sqrt(variance)
    found = float(np.sum(wrong))
    return ErrorsLeft(
        float(np.clip(expected, found, len(p_wrong))),
        max(expected - reach, found),
        min(expected + reach, float(len(p_wrong))),
        by_audit=True,
    )


@dataclass(frozen=True)
class Reliability:
    """A reliability curve: per bin mean P(wrong), share found wrong, its 95 % interval, rows."""

    predicted: Doubles
    observed: Doubles
    low: Doubles
    high: Doubles
    num_rows: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean |observed - predicted| over rows, in [0, 1]."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.num_rows))


def reliability(p_wrong: Floats, wrong: Flags, num_bins: int = 10) -> Reliability:
    """Bins of about equal rows, from least to most suspect; intervals after Wilson 1927.

    p_wrong, wrong: judged rows, [A]. Raises InvalidInput when there are none.
    """
    if not len(p_wrong):
        raise InvalidInput.of("p_wrong", "no judged rows; a reliability curve needs some")
    bins = np.array_split(np.argsort(p_wrong, kind="stable"), min(num_bins, len(p_wrong)))
    count = np.array([len(one) for one in bins])
    predicted = np.array([p_wrong[one].mean() for one in bins])
    observed = np.array([wrong[one].mean() for one in bins])
    z = float(ndtri(0.975))
    middle = (observed + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = np.sqrt(observed * (1 - observed) / count + z**2 / (4 * count**2))
    reach *= z / (1 + z**2 / count)
    return Reliability(predicted, observed, middle - reach, middle + reach, count)


def num_worth_asking(
    p_wrong: Floats, *, seconds_per_label: float, least_errors_per_minute: float, batch: int = 50
) -> int:
    """How many rows, worst first, to ask about before a labeler finds errors too slowly.

    Stops at the first batch of rows whose expected errors found a labeler-minute
    are below the least. Raises InvalidInput when a rate is not positive.
    """
    for name, value in (
        ("seconds_per_label", seconds_per_label),
        ("least_errors_per_minute", least_errors_per_minute),
        ("batch", batch),
    ):
        if value <= 0:
            raise InvalidInput.of(name, f"{value}; give a number above 0")
    worst = np.sort(p_wrong)[::-1]
    for start in range(0, len(worst), batch):
        per_minute = float(worst[start : start + batch].mean()) * 60 / seconds_per_label
        if per_minute < least_errors_per_minute:
            return start
    return len(worst)
