"""The handwritten digits that scikit-learn carries, for the image and the detection set."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.data import packages

WHEEL = "scikit-learn==1.9.1"
DIGITS = "sklearn/datasets/data/digits.csv.gz"
SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
LICENCE = "scikit_learn-1.9.1.dist-info/licenses/COPYING"


def read(wheel: Path) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Pictures [1797, 8, 8] of ink from 0 to 255, and the digit on each, "0" to "9"."""
    text = gzip.decompress(packages.member(wheel, DIGITS, sha256=SHA256)).decode()
    table = np.array([line.split(",") for line in text.split()], np.float64).astype(np.int64)
    ink = np.minimum(table[:, :-1] * 16, 255).astype(np.uint8)
    return ink.reshape(-1, 8, 8), [str(digit) for digit in table[:, -1]]


def licence(wheel: Path) -> bytes:
    return packages.member(wheel, LICENCE)
