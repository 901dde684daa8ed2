"""Planted errors: some true labels exchanged, in a way that is known.

For sets without errors of their own, and to see which methods stand which noise.
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Plant(StrEnum):
    """Which class a chosen row gets instead of its own; it may be its own by luck."""

    CHANCE = "chance"  # any class alike
    FREQUENT = "frequent"  # each class as often as it occurs: to the frequent ones
    NEXT = "next"  # always the same one: the next in order


def planted(truth: Ints, kind: Plant, *, rate: float, seed: int) -> Ints:
    """Labels in which `rate` of the rows were chosen and exchanged, [R]."""
    rng = np.random.default_rng(seed)
    num_classes = int(truth.max()) + 1
    instead = {
        Plant.CHANCE: rng.integers(num_classes, size=len(truth)),
        Plant.FREQUENT: rng.permutation(truth),
        Plant.NEXT: (truth + 1) % num_classes,
    }[kind]
    return np.where(rng.random(len(truth)) < rate, instead, truth)
