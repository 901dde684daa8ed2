"""Several callers' requests in one transaction: what one may find that is done so."""

from enum import Enum
from typing import Final, Literal


class Outcome(Enum):
    """ALONE: nothing was done, and the request is to be done in a transaction of its own, which
    may wait for others."""

    ALONE = "alone"


ALONE: Final = Outcome.ALONE
Alone = Literal[Outcome.ALONE]
