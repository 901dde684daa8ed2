"""Whether probabilities mean what they say, and when to stop.

P(label is wrong) is in [0, 1], higher is worse, [R]. How many errors are left: errors_left.py.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cluster.scores.compact import Floats
from relabel_service.errors import InvalidInput

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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

    p_wrong: of rows that people reviewed; wrong: what they found, [A] each. Raises InvalidInput
    when there are none.
    """
    if not len(p_wrong):
        raise InvalidInput.of("p_wrong", "no reviewed rows; a reliability curve needs some")
    bins = np.array_split(np.argsort(p_wrong, kind="stable"), min(num_bins, len(p_wrong)))
    count = np.array([len(rows) for rows in bins])
    predicted = np.array([p_wrong[rows].mean() for rows in bins])
    observed = np.array([wrong[rows].mean() for rows in bins])
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
