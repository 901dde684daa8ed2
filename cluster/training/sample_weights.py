"""Sample weights of training: P(label is correct) of each row, as mining wrote it.

A file for each shard that mining scored, with `key` (uint64, cluster.data.folds.id_keys, rising
after a sort) and `p_right` (float32); 12 bytes a row in memory, all of them in each worker.
"""

import json

import numpy as np
import pyarrow as pa

from cluster.interfaces import Array
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, shard_names
from cluster.training.dynamics import TrainingDynamics
from relabel_service.errors import NotFound

SHARDS, DONE = "doubts", "doubts.json"
P_RIGHT = "p_right"


def is_written(uri: str) -> bool:
    """Whether label confidence lies there, and all of it."""
    return Folder(uri).exists(DONE)


def require_written(uri: str) -> None:
    """Raises NotFound when no label confidence was written, or not all of it."""
    if not is_written(uri):
        raise NotFound(
            f"no label confidence at {uri!r}; have jobs.mine write some with --label-confidence"
        )


def unasked_histogram(uri: str) -> list[int]:
    """Rows and units that people have not decided by P(label is wrong), in bins.

    Raises NotFound as require_written.
    """
    require_written(uri)
    counts: list[int] = json.loads(Folder(uri).read(DONE))["rest"]
    return counts


def sample_weights(uri: str, ids: "pa.ChunkedArray | list[str]") -> Array:
    """P(label is correct) of rows, [len(ids)]; 1 for those that were not scored."""
    folder = Folder(uri)
    shards = [read_shard(folder, name) for name in shard_names(folder, SHARDS)]
    if not shards:
        return np.ones(len(ids))
    written = pa.concat_tables(shards).sort_by("key")
    by_key = TrainingDynamics(written["key"].to_numpy(), {P_RIGHT: written[P_RIGHT].to_numpy()})
    return np.nan_to_num(by_key.of(ids)[P_RIGHT], nan=1.0)
