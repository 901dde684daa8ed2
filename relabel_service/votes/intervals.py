"""How far to believe a campaign's results: intervals for shares, and what follows from them.

Pure. All intervals are at 95 %.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

Z = 1.959963984540054  # of the normal distribution, two-sided 95 %
TAIL = 0.025


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


@lru_cache(maxsize=1024)
def errors_left(num_wrong: int, num_audited: int, population: int) -> Estimate:
    """Errors among `population` rows of which num_audited, drawn at random, hold num_wrong.

    The exact interval (Clopper and Pearson 1934, of draws without replacement): Wilson's holds the
    truth too seldom where errors are rare. All of the population when nothing was audited.
    """
    population = max(population, num_audited)
    if not num_audited:
        return Estimate(math.nan, 0.0, float(population))
    counts = range(num_wrong, population - num_audited + num_wrong + 1)

    def at_most(num: int, errors: int) -> float:
        return _at_most(num, errors, num_audited, population)

    # As the number of errors rises, a sample of so many or more becomes likelier, of so few or
    # fewer less likely: the ends are the first and the last number that neither tail rules out.
    first = bisect_left(counts, True, key=lambda errors: 1 - at_most(num_wrong - 1, errors) > TAIL)
    after = bisect_left(counts, True, key=lambda errors: at_most(num_wrong, errors) <= TAIL)
    value = population * num_wrong / num_audited
    return Estimate(value, float(counts[first]), float(counts[after - 1]))


def audit_size(share: float, population: int, *, reach: float = 0.5) -> int:
    """Rows to draw so that the interval of errors left reaches about `reach` of them to both sides.

    share: of errors in the population, as far as it is known; in (0, 1].
    """
    endless = Z**2 * (1 - share) / (share * reach**2)
    return min(population, math.ceil(endless / (1 + endless / max(population, 1))))


def _at_most(num: int, errors: int, drawn: int, population: int) -> float:
    """P(a sample holds `num` errors or fewer) by the hypergeometric distribution."""
    least = max(0, drawn - (population - errors))
    all_samples = _log_choose(population, drawn)
    logs = [
        _log_choose(errors, found) + _log_choose(population - errors, drawn - found) - all_samples
        for found in range(least, min(num, errors, drawn) + 1)
    ]
    return min(math.fsum(map(math.exp, logs)), 1.0)


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def recall(num_found: int, left: Estimate) -> Estimate:
    """The share of all errors that was found. Some must be found or left."""
    return Estimate(
        num_found / (num_found + left.value),
        num_found / (num_found + left.high),
        num_found / (num_found + left.low) if num_found else 0.0,
    )
