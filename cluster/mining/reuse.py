"""Judgements of an earlier mining taken over for the rows that are as they were then.

A row's judgement follows from its content, its label and the models alone, so with the
same models only new and changed rows need a prediction; the table's sums and the order
are made anew from all. What training watched of a row is about the label it had then, and
is left out of any version but the one trained on.
"""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from cluster.data.folds import id_keys
from cluster.engine.base import Batches
from cluster.interfaces import DYNAMICS
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, shard_names, write_shard
from relabel_service.errors import InvalidInput, NotFound

SCORED_BY = "judged_by.json"
KEY = "key"  # uint64: of a row's id, label and content
PREFIX = "since"

Judge = dict[str, str]


def add_content_keys(batch: pa.Table) -> pa.Table:
    """ROWS, and 64 bits of each that differ where its id, label or content does."""
    parts = zip(*(batch[name].to_pylist() for name in ("id", "label", "content")), strict=True)
    return batch.append_column(KEY, pa.array(id_keys(map(json.dumps, parts)), pa.uint64()))


def require_same(reuse_run: Folder, parts: str, score: Judge) -> None:
    """Raises NotFound where a run kept no judgements, InvalidInput where others judged them."""
    if not reuse_run.exists(SCORED_BY) or not shard_names(reuse_run, parts):
        raise NotFound(
            f"{reuse_run.uri!r} keeps no predictions; mine whole with --keep-predictions first, "
            "under another run id if that run is over"
        )
    then: dict[str, Any] = json.loads(reuse_run.read(SCORED_BY))
    for name, value in score.items():
        if then.get(name) != value:
            raise InvalidInput.of(
                "reuse_run",
                f"{reuse_run.uri!r} was scored with {name} {then.get(name)!r}, not {value!r}: what "
                "it says of a row would not be what this run says; mine without --reuse-run",
            )


def reuse_predictions(
    rows: Batches, *, reuse_run: Folder, into: Folder, parts: str, observed: bool
) -> int:
    """Write the judgements in `since` of rows that are as they were; how many rows those are.

    rows: ROWS of the present version, with keys. since, into: folders of the two runs, where
    `parts` are their judged parts. observed: whether what training watched is about the present
    labels. Done again, it writes the same again.
    """
    earlier = shard_names(reuse_run, parts)
    keys = [read_shard(reuse_run, part, [KEY])[KEY] for part in earlier]
    known = pa.concat_arrays([one for column in keys for one in column.chunks])
    shared = ray.put(known.unique())

    def unchanged(batch: pa.Table) -> pa.Table:
        fit = batch.filter(batch["fault"].is_null()).select([KEY])
        return fit.filter(pc.is_in(fit[KEY], value_set=ray.get(shared)))

    batches = rows.map(unchanged)
    found = [chunk for batch in batches for chunk in batch[KEY].chunks]
    kept = pa.concat_arrays([pa.array([], pa.uint64()), *found])
    wanted = ray.put(kept)
    ray.get(
        [
            _copy.remote(
                reuse_run, part, into, f"{parts}/{PREFIX}-{number:06d}.parquet", wanted, observed
            )
            for number, part in enumerate(earlier)
        ]
    )
    return len(kept)


@ray.remote
def _copy(
    reuse_run: Folder, part: str, into: Folder, name: str, wanted: pa.Array, observed: bool
) -> None:
    table = read_shard(reuse_run, part)
    table = table.filter(pc.is_in(table[KEY], value_set=wanted))
    watched = [column for column in table.column_names if column.startswith(DYNAMICS)]
    if table.num_rows:
        write_shard(into, name, table if observed else table.drop_columns(watched))
