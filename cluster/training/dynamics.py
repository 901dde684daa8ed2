"""Training dynamics of each row, brought together from the files of its training.

Each run's workers wrote the mean over the epochs of what they recorded of a row
(loop.py). A row's value here is the mean over all runs that trained on it. Kept in
memory: 8 bytes a row and 8 a quantity.
"""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.data.folds import id_keys
from cluster.interfaces import Array
from cluster.io.folder import Folder

FOLDER = "observed"
NOT_QUANTITIES = ("id", "num_epochs")


def means(
    ids: "pa.ChunkedArray", watched: npt.NDArray[np.float64], quantities: Sequence[str]
) -> pa.Table:
    """One run's file: id, num_epochs, and the mean over epochs of each quantity.

    watched: [R, 1 + Q], how often each row was seen and the sums of the quantities over these.
    """
    counts = watched[:, 0]
    mean = watched[:, 1:] / np.maximum(counts, 1)[:, None]
    return pa.table(
        {
            "id": ids,
            "num_epochs": counts.astype(np.int32),
            **dict(zip(quantities, mean.T, strict=True)),
        }
    )


class TrainingDynamics:
    """Observed quantities by row id."""

    def __init__(self, keys: npt.NDArray[np.uint64], values: dict[str, Array]) -> None:
        """keys: of ids, distinct and rising, [R]. values: quantity -> [R], NaN where unseen."""
        self._keys, self._values = keys, values

    @classmethod
    def read(cls, store: Folder) -> "TrainingDynamics":
        """All runs' files of a model store; empty when it has none."""
        tables = [
            pq.read_table(io.BytesIO(store.read(name))) for name in store.names(FOLDER, ".parquet")
        ]
        if not tables:
            return cls(np.empty(0, np.uint64), {})
        keys = np.concatenate([id_keys(one["id"]) for one in tables])
        epochs = np.concatenate([one["num_epochs"].to_numpy() for one in tables])
        distinct, place = np.unique(keys, return_inverse=True)
        num_seen = np.bincount(place, epochs, minlength=len(distinct))
        values = {}
        for name in tables[0].column_names:
            if name in NOT_QUANTITIES:
                continue
            mean = np.concatenate([one[name].to_numpy() for one in tables])
            total = np.bincount(place, mean * epochs, minlength=len(distinct))
            values[name] = np.where(num_seen > 0, total / np.maximum(num_seen, 1), np.nan)
        return cls(distinct, values)

    def of(self, ids: "pa.ChunkedArray | list[str]") -> dict[str, Array]:
        """Quantity -> [len(ids)]; NaN for rows that no run trained on."""
        if not len(self._keys):
            return {}
        wanted = id_keys(ids)
        place = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        known = self._keys[place] == wanted
        return {name: np.where(known, found[place], np.nan) for name, found in self._values.items()}
