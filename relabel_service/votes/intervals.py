"""How far to believe a campaign's results: intervals for shares, and what follows from them.

Pure. All intervals are at 95 %.
"""

import math
from dataclasses import dataclass

Z = 1.959963984540054  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


def share(num: int, total: int) -> Estimate:
    """num / total with Wilson's score interval (1927); all of [0, 1] when total is 0."""
    if total == 0:
        return Estimate(math.nan, 0.0, 1.0)
    value = num / total
    spread = 1 + Z**2 / total
    middle = (value + Z**2 / (2 * total)) / spread
    half = Z / spread * math.sqrt(value * (1 - value) / total + Z**2 / (4 * total**2))
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second, of independent shares (Newcombe 1998, method 10)."""
    value = first.value - second.value
    return Estimate(
        value,
        value - math.hypot(first.value - first.low, second.high - second.value),
        value + math.hypot(first.high - first.value, second.value - second.low),
    )


def errors_left(audit_errors: Estimate, population: int) -> Estimate:
    """Errors among the rows that a random sample's share of errors was drawn from."""
    return Estimate(
        population * audit_errors.value,
        population * audit_errors.low,
        population * audit_errors.high,
    )


def recall(num_found: int, left: Estimate) -> Estimate:
    """The share of all errors that was found. Some must be found or left."""
    return Estimate(
        num_found / (num_found + left.value),
        num_found / (num_found + left.high),
        num_found / (num_found + left.low) if num_found else 0.0,
    )
