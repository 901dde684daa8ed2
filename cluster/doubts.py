"""How likely each label is right, by mining and by what people answered: training counts rows so.

A file for each judged part; 12 bytes a row in memory, of which each training worker holds all.
"""

import io
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from cluster.folds import id_keys
from cluster.parts import part_names, write_part
from cluster.ranking import Known, Scoring, judged_rows
from cluster.rest import NUM_BINS, histogram
from cluster.storage import Folder
from cluster.tasks.seam import Array
from relabel_service.errors import NotFound

PARTS, DONE = "doubts", "doubts.json"
P_RIGHT = "p_right"
Decided = frozenset[tuple[str, str]]


def write(
    scoring: Scoring,
    parts: Sequence[str],
    *,
    known: Known,
    units: frozenset[str],
    decided: Decided,
    uri: str,
) -> None:
    """P(label is right) of each row of the judged parts, as files under `uri`.

    decided: id and unit of what people have decided, which is right. A row of several units is as
    right as the unit most in doubt. What is not decided, of the units that people are asked about,
    is also counted by P(label is wrong), as rest.py counts. Done again, it writes the same again.
    """
    shared = ray.put((scoring, known, units, decided))
    counts = ray.get([_write.remote(shared, part, uri) for part in parts])
    rest = np.sum([np.zeros(NUM_BINS, np.int64), *counts], axis=0)
    Folder(uri).write(DONE, json.dumps({"rest": rest.tolist()}).encode())


def are_written(uri: str) -> bool:
    return Folder(uri).exists(DONE)


def rest(uri: str) -> list[int]:
    """Rows and units that people have not decided by P(label is wrong), in bins: [NUM_BINS].

    Raises NotFound when no doubts were written, or not all of them.
    """
    folder = Folder(uri)
    if not folder.exists(DONE):
        raise NotFound(f"no doubts at {uri!r}; have jobs.mine write some with --doubts")
    counts: list[int] = json.loads(folder.read(DONE))["rest"]
    return counts


class Doubts:
    """P(label is right) by row id."""

    def __init__(self, keys: npt.NDArray[np.uint64], p_right: npt.NDArray[np.float32]) -> None:
        """keys: of ids, distinct and rising, [R]. p_right: [R], in [0, 1]."""
        self._keys, self._p_right = keys, p_right

    @classmethod
    def read(cls, uri: str) -> "Doubts":
        """Those under `uri`, all of which were written."""
        folder = Folder(uri)
        tables = [
            pq.read_table(io.BytesIO(folder.read(name))) for name in part_names(folder, PARTS)
        ]
        keys = np.concatenate([np.empty(0, np.uint64), *(one["key"].to_numpy() for one in tables)])
        p_right = np.concatenate(
            [np.empty(0, np.float32), *(one[P_RIGHT].to_numpy() for one in tables)]
        )
        order = np.argsort(keys)
        return cls(keys[order], p_right[order])

    def of(self, ids: "pa.ChunkedArray | list[str]") -> Array:
        """P(label is right), [len(ids)]; 1 for rows that were not judged."""
        keys = id_keys(ids)
        if not len(self._keys):
            return np.ones(len(keys))
        place = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._p_right[place], 1.0).astype(np.float64)


@ray.remote
def _write(
    shared: tuple[Scoring, Known, frozenset[str], Decided], part: str, uri: str
) -> npt.NDArray[np.int64]:
    scoring, known, units, decided = shared
    judged, _ = judged_rows(scoring, part, known.learned)
    if not judged.num_rows:
        return np.zeros(NUM_BINS, np.int64)
    p_wrong = scoring.suspicion(judged, known.sums)
    names = list(zip(judged["id"].to_pylist(), judged["unit"].to_pylist(), strict=True))
    is_decided = np.array([name in decided for name in names])
    is_asked_about = np.array([unit in units for _, unit in names])
    p_right = np.where(is_decided, 1.0, 1.0 - p_wrong)
    by_row = pa.table({"id": judged["id"], P_RIGHT: p_right}).group_by("id")
    least = by_row.aggregate([(P_RIGHT, "min")])
    rows = pa.table(
        {
            "key": id_keys(least["id"]),
            P_RIGHT: pc.cast(least[f"{P_RIGHT}_min"], pa.float32()),
        }
    )
    write_part(Folder(uri), f"{PARTS}/{part.rpartition('/')[2]}", rows)
    return histogram(p_wrong[is_asked_about & ~is_decided])
