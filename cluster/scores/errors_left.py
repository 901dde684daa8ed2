"""How many errors are left among rows that nobody was asked about, by answers about others.

The rows that people were asked about are the most suspicious ones, no random sample, so whatever
is said of the others is an extrapolation. It rests on two assumptions, and the interval is as wide
as they leave it:

- among the others errors are no commoner than among the least suspicious of the rows asked about;
- the log-odds of an error follow those of suspicion in about a straight line, whose offset and
  slope the answers leave open. Lines that fit them all take part, by their likelihood; beyond the
  answers the line may bend: errors become rarer than it says by LOW_BEND or commoner by BEND, and
  rarer by more, as a good ranking ends in a cliff (bench/results/errors_left.md).

Suspicion comes as counts in B bins of equal width over [0, 1], from least to most suspicious.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, expit, logit, pdtrik

from cluster.scores.calibration import Doubles

TAIL = 0.025  # probability left out at each end
OFFSETS = np.linspace(-8.0, 8.0, 81)  # log-odds of an error at the mean suspicion of the answers
SLOPES = np.linspace(0.0, 8.0, 41)  # 1 where suspicion is calibrated, 0 where it says nothing
SLOPE_SCALE = 0.5  # of the Cauchy prior around 1
BEND, LOW_BEND = 1.6, 2.0
BAND_SHARE, MIN_BAND = 0.25, 50  # the least suspicious of the answers

# Fewer answers, or fewer of either kind, say nothing of other rows (where all are wrong, nobody
# knows where errors become rare); nor does an interval whose ends are so many times apart.
MIN_ANSWERS, MIN_WRONG, MIN_RIGHT, MOST_APART = 50, 10, 20, 40.0

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ErrorsLeft:
    """A number of wrong labels with its 95 % interval.

    by_audit: by a random sample; otherwise by answers about the most suspicious rows.
    audit_size: where neither supports an interval (it is then of no error to all rows), how many
    random rows to ask about for one that reaches half of the number to both sides.
    """

    expected: float
    low: float
    high: float
    by_audit: bool
    audit_size: int | None = None


def interval(asked: Counts, wrong: Counts, unasked: Counts) -> tuple[float, float] | None:
    """The least and the largest number of errors among the unasked rows; None where the answers
    support no interval. asked: rows that people decided; wrong: those found wrong; [B] each."""
    num_asked, num_wrong, num_left = int(asked.sum()), int(wrong.sum()), int(unasked.sum())
    num_right = num_asked - num_wrong
    if num_asked < MIN_ANSWERS or num_wrong < MIN_WRONG or num_right < MIN_RIGHT:
        return None
    low, high = _by_lines(asked, wrong, unasked)
    high = min(high, num_left * _highest_share(asked, wrong), float(num_left))
    low = min(low, high)
    return (low, high) if high <= MOST_APART * max(low, 1.0) else None


def _by_lines(asked: Counts, wrong: Counts, unasked: Counts) -> tuple[float, float]:
    """By the lines that fit the answers, each as likely as it makes them."""
    bins = len(asked)
    x = logit((np.arange(bins) + 0.5) / bins)
    x = x - np.average(x, weights=asked)
    lines = OFFSETS[:, None, None] + SLOPES[:, None] * x  # log-odds, [offsets, slopes, B]
    log_p = (wrong * lines - asked * np.logaddexp(0, lines)).sum(axis=2)
    log_p -= np.log1p(((SLOPES - 1) / SLOPE_SCALE) ** 2)
    weights = np.exp(log_p - log_p.max())
    p_wrong = expit(lines)
    # The first bin holds suspicions of any smallness: its rows may all be right.
    least = _quantile(p_wrong[:, :, 1:] @ unasked[1:], weights, TAIL) / LOW_BEND
    most = _quantile(p_wrong @ unasked, weights, 1 - TAIL) * BEND
    return _poisson(TAIL, least), _poisson(1 - TAIL, most)


def _highest_share(asked: Counts, wrong: Counts) -> float:
    """Upper end (Clopper and Pearson 1934) of the share of errors in the least suspicious ones."""
    at_least = max(MIN_BAND, BAND_SHARE * asked.sum())
    band = np.cumsum(asked) - asked < at_least  # whole bins, until there are enough
    num_asked, num_wrong = int(asked[band].sum()), int(wrong[band].sum())
    if num_wrong == num_asked:
        return 1.0
    return float(betaincinv(num_wrong + 1, num_asked - num_wrong, 1 - TAIL))


def _quantile(values: Doubles, weights: Doubles, share: float) -> float:
    """The value that this share of the weights lies below."""
    order = np.argsort(values, axis=None)
    reached = np.cumsum(weights.ravel()[order]) / weights.sum()
    place = min(int(np.searchsorted(reached, share)), len(order) - 1)
    return float(values.ravel()[order[place]])


def _poisson(share: float, mean: float) -> float:
    """Quantile of a number of errors of this mean."""
    return max(float(np.nan_to_num(pdtrik(share, mean))), 0.0)
