"""From rows of named features to network input: numbers by quantile, the rest by hash.

Learned in prepare from a sample and kept as JSON, so that training and inference
encode alike. N columns of numbers, F columns in all.

A number becomes its rank among the sample's quantiles, in [-1, 1], which no unit
or outlier disturbs, and also the bucket between quantiles, whose embedding can
follow any curve (Gorishniy et al. 2022, "On embeddings for numerical features").
Any other value becomes a hashed bucket of its column; buckets that few sample rows
use are one bucket together, since nothing can be learned from them.
"""

import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = "features.json"
NUM_QUANTILES = 32
MIN_ROWS = 5  # sample rows a hashed bucket needs for an embedding of its own
MAX_BUCKETS = 2**18  # a column

Row = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # buckets [F], numbers [N]


@dataclass(frozen=True)
class NumberColumn:
    """edges: distinct quantiles, rising. Bucket 0 is for rows without a number."""

    name: str
    edges: tuple[float, ...]

    @property
    def num_buckets(self) -> int:
        return len(self.edges) + 2

    def bucket(self, value: object) -> int:
        if not isinstance(value, int | float):
            return 0
        return 1 + int(np.searchsorted(self.edges, value, side="right"))

    def rank(self, value: object) -> float:
        """In [-1, 1]; 0 without a number."""
        if not isinstance(value, int | float) or len(self.edges) < 2:
            return 0.0
        return float(np.interp(value, self.edges, np.linspace(-1.0, 1.0, len(self.edges))))


@dataclass(frozen=True)
class HashedColumn:
    """used: hashes that have a bucket of their own, from 1 in this order; 0 is for all others."""

    name: str
    size: int
    used: tuple[int, ...]

    def __post_init__(self) -> None:
        buckets = {hashed: bucket for bucket, hashed in enumerate(self.used, 1)}
        object.__setattr__(self, "_buckets", buckets)

    @property
    def num_buckets(self) -> int:
        return len(self.used) + 1

    def bucket(self, value: object) -> int:
        buckets: Mapping[int, int] = self._buckets  # type: ignore[attr-defined]
        return buckets.get(_hash(value, self.size), 0)


Column = NumberColumn | HashedColumn


class Features:
    """The columns of one training."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.numbers = [column for column in columns if isinstance(column, NumberColumn)]
        counts = [column.num_buckets for column in columns]
        self.num_buckets = sum(counts)
        self._offsets = np.cumsum([0, *counts[:-1]])

    @classmethod
    def learn(cls, rows: Sequence[Mapping[str, Any]]) -> "Features":
        """Columns of a sample of rows, in the order of their names."""
        names = sorted({name for row in rows for name in row})
        return cls([_learn(name, [row.get(name) for row in rows]) for name in names])

    def encode(self, row: Mapping[str, Any]) -> Row:
        buckets = np.array(
            [column.bucket(row.get(column.name)) for column in self.columns], np.int64
        )
        numbers = np.array(
            [column.rank(row.get(column.name)) for column in self.numbers], np.float32
        )
        return buckets + self._offsets, numbers

    def save(self, folder: Path) -> None:
        saved = [{"kind": type(column).__name__, **asdict(column)} for column in self.columns]
        (folder / FILE).write_text(json.dumps(saved))

    @classmethod
    def load(cls, folder: Path) -> "Features":
        columns: list[Column] = []
        for saved in json.loads((folder / FILE).read_text()):
            match saved.pop("kind"):
                case NumberColumn.__name__:
                    columns.append(NumberColumn(saved["name"], tuple(saved["edges"])))
                case HashedColumn.__name__:
                    columns.append(HashedColumn(saved["name"], saved["size"], tuple(saved["used"])))
        return cls(columns)


def _learn(name: str, values: Sequence[Any]) -> Column:
    present = [value for value in values if value is not None]
    if present and all(_is_number(value) for value in present):
        distinct = np.unique(np.asarray(present, np.float64))
        if len(distinct) > NUM_QUANTILES:
            shares = np.linspace(0.0, 1.0, NUM_QUANTILES)
            distinct = np.unique(np.quantile(np.asarray(present, np.float64), shares))
        return NumberColumn(name, tuple(distinct.tolist()))
    num_distinct = len({json.dumps(value) for value in values})
    size = min(MAX_BUCKETS, 1 << (4 * num_distinct - 1).bit_length())
    seen = Counter(_hash(value, size) for value in values)
    used = sorted(hashed for hashed, count in seen.items() if count >= MIN_ROWS)
    return HashedColumn(name, size, tuple(used))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hash(value: object, size: int) -> int:
    return zlib.crc32(json.dumps(value).encode()) % size
