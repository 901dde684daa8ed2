"""Folds for cross-fitting: which model must not have seen a row.

A row's fold follows from a stable hash of its id alone, so that another run,
another worker or a grown table gives the same; near-duplicates share a fold:
otherwise a wrong label would be learned from its twin and look right.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from relabel_service.errors import InvalidInput

MIN_FOLDS = 2

IdKeys = npt.NDArray[np.uint64]  # [ids]
NO_KEYS: IdKeys = np.empty(0, np.uint64)


def id_keys(ids: "pa.ChunkedArray | Iterable[str]") -> IdKeys:
    """The first 64 bits of each id's SHA-256, shape [rows]."""
    names = ids.to_pylist() if isinstance(ids, pa.ChunkedArray | pa.Array) else ids
    digests = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8] for name in names]
    return np.frombuffer(b"".join(digests), np.uint64)


@dataclass(frozen=True)
class Folds:
    """num_folds parts of about the same size; with 0, nothing is held out.

    near_duplicates: uint64 [grouped rows, 2], id key and group key, as Survey gives it.
    """

    num_folds: int
    near_duplicates: npt.NDArray[np.uint64] = field(
        default_factory=lambda: np.empty((0, 2), np.uint64)
    )

    def __post_init__(self) -> None:
        if self.num_folds < MIN_FOLDS and self.num_folds != 0:
            raise InvalidInput.of(
                "folds", f"{self.num_folds} is too few; use {MIN_FOLDS} or more, or 0 for none"
            )

    def of(self, ids: "pa.ChunkedArray | Iterable[str]") -> npt.NDArray[np.int64]:
        """Fold of each row, in [0, num_folds), shape [rows]; 0 where there are no folds."""
        keys = id_keys(ids)
        if len(self.near_duplicates):
            members, leaders = self.near_duplicates.T
            order = np.argsort(members)
            place = np.searchsorted(members, keys, sorter=order).clip(max=len(members) - 1)
            found = order[place]
            keys = np.where(members[found] == keys, leaders[found], keys)
        return (keys % np.uint64(max(self.num_folds, 1))).astype(np.int64)
