"""How many findings a run keeps: the worst few, a share of the rows, or all above a threshold."""

import math
from dataclasses import dataclass

from relabel_service.errors import InvalidInput

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Selection:
    """At most one of top and budget. Every finding's suspicion is at least the threshold.

    top: number of findings. budget: share of the scored rows, in (0, 1].
    threshold: least suspicion, in [0, 1]; with neither top nor budget DEFAULT_THRESHOLD,
    else 0.
    """

    top: int | None = None
    budget: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.budget is not None:
            raise InvalidInput.of("top", f"{self.top} and a budget are both given; give one")
        if self.top is not None and self.top < 1:
            raise InvalidInput.of("top", f"{self.top} is too small; use 1 or more")
        if self.budget is not None and not 0 < self.budget <= 1:
            raise InvalidInput.of("budget", f"{self.budget:.0%} is out of range; use 0% to 100%")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidInput.of("threshold", f"{self.threshold} is out of range; use 0 to 1")

    @property
    def least(self) -> float:
        if self.threshold is not None:
            return self.threshold
        return DEFAULT_THRESHOLD if self.top is None and self.budget is None else 0.0

    def limit(self, num_scored: int) -> int | None:
        """How many findings at most; None for no limit."""
        return math.ceil(self.budget * num_scored) if self.budget is not None else self.top


def parse_budget(text: str) -> float:
    """'5%' or '0.05' as a share. Raises InvalidInput."""
    try:
        share = float(text.removesuffix("%"))
    except ValueError:
        raise InvalidInput.of("budget", f"{text!r} is not a share; write 5% or 0.05") from None
    return share / 100 if text.endswith("%") else share
