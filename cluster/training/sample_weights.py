"""P(label is correct) of every row, as training reads it: the row's sample weight.

The files are written by cluster/mining/label_confidence.py: shards of `key` (uint64, of the row's
id) and P_CORRECT (float32), and DONE last. A training worker holds all of them, 12 bytes a row.
"""

import json

import numpy as np
import pyarrow as pa

from cluster.interfaces import Array
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, shard_names
from cluster.training.dynamics import TrainingDynamics
from relabel_service.errors import NotFound

SHARDS, DONE = "p_correct", "label_confidence.json"
KEY, P_CORRECT = "key", "p_correct"
UNASKED = "unasked_histogram"  # the field of DONE


def sample_weights(uri: str, ids: "pa.ChunkedArray | list[str]") -> Array:
    """P(label is correct) of rows, [len(ids)], in [0, 1]; 1 for rows that were not scored."""
    folder = Folder(uri)
    tables = [read_shard(folder, shard) for shard in shard_names(folder, SHARDS)]
    if not tables:
        return np.ones(len(ids))
    rows = pa.concat_tables(tables).sort_by(KEY)
    by_row = TrainingDynamics(rows[KEY].to_numpy(), {P_CORRECT: rows[P_CORRECT].to_numpy()})
    return np.nan_to_num(by_row.of(ids)[P_CORRECT], nan=1.0)


def is_written(uri: str) -> bool:
    """Whether all files are there."""
    return Folder(uri).exists(DONE)


def require_written(uri: str) -> None:
    """Raises NotFound when label confidence was not written, or only some of it."""
    if not is_written(uri):
        raise NotFound(
            f"no label confidence at {uri!r}; have jobs.mine write it with --label-confidence"
        )


def unasked_histogram(uri: str) -> list[int]:
    """Rows (and units) that people have not decided on, by P(label is wrong): [num bins].

    The bins have equal width over [0, 1]. Raises NotFound as require_written.
    """
    require_written(uri)
    counts: list[int] = json.loads(Folder(uri).read(DONE))[UNASKED]
    return counts
