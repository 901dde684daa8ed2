"""How likely each label is right, by mining and by what people answered: training counts rows so.

A file for each judged part; 12 bytes a row in memory, of which each training worker holds all.
"""

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import ray

from cluster.data.folds import id_keys
from cluster.io.folder import Folder
from cluster.io.shards import write_shard
from cluster.mining.rank import Scoring, TableStats, scored_rows
from cluster.mining.unasked import NUM_BINS, histogram
from cluster.training.sample_weights import DONE, P_RIGHT, SHARDS

Decided = frozenset[tuple[str, str]]


def write(
    scoring: Scoring,
    parts: Sequence[str],
    *,
    known: TableStats,
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


@ray.remote
def _write(
    shared: tuple[Scoring, TableStats, frozenset[str], Decided], part: str, uri: str
) -> npt.NDArray[np.int64]:
    scoring, known, units, decided = shared
    scored, _ = scored_rows(scoring, part, known.learned)
    if not scored.num_rows:
        return np.zeros(NUM_BINS, np.int64)
    p_wrong = scoring.suspicion(scored, known.sums)
    names = list(zip(scored["id"].to_pylist(), scored["unit"].to_pylist(), strict=True))
    is_decided = np.array([name in decided for name in names])
    is_asked_about = np.array([unit in units for _, unit in names])
    p_right = np.where(is_decided, 1.0, 1.0 - p_wrong)
    by_row = pa.table({"id": scored["id"], P_RIGHT: p_right}).group_by("id")
    least = by_row.aggregate([(P_RIGHT, "min")])
    rows = pa.table(
        {
            "key": id_keys(least["id"]),
            P_RIGHT: pc.cast(least[f"{P_RIGHT}_min"], pa.float32()),
        }
    )
    write_shard(Folder(uri), f"{SHARDS}/{part.rpartition('/')[2]}", rows)
    return histogram(p_wrong[is_asked_about & ~is_decided])
