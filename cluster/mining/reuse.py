"""Predictions of an earlier run, reused for the rows that are as they were then.

A row's prediction follows from its content, its label and the models alone, so with the
same models only new and changed rows are predicted; the table's statistics and the order
are computed anew from all rows. Training dynamics of a row are about the label it had then, and
are left out of any version but the one trained on.
"""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.folds import id_keys
from cluster.engine.base import Batches, Engine
from cluster.interfaces import DYNAMICS
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, write_shard
from cluster.mining.config import MineConfig
from cluster.mining.scored_shards import CONTENT_KEY, FAULT, SCORED, scored_shards
from cluster.training.model_store import Manifest
from relabel_service.errors import InvalidInput, NotFound

SCORED_BY = "scored_by.json"
PREFIX = "reused"  # of the names of shards that are copied

ScoredBy = dict[str, str]


def scored_by(config: MineConfig, manifest: Manifest) -> ScoredBy:
    """All that a row's prediction follows from but the row."""
    return {
        "training": f"{config.store_uri} {manifest.training_id}",
        "predictions": config.inference.sampling.value,
        "encoder": config.encoder or "",
    }


def write_scored_by(run: Folder, made_by: ScoredBy) -> None:
    """Say how a run's rows are scored, so that later runs may reuse them."""
    # Shards that are there already may be of an attempt that gave rows no keys.
    if not scored_shards(run):
        run.write(SCORED_BY, json.dumps(made_by, indent=2).encode())


def require_same(reuse_run: Folder, made_by: ScoredBy) -> None:
    """Raises NotFound where a run kept no predictions, InvalidInput where they were made
    otherwise."""
    if not reuse_run.exists(SCORED_BY) or not scored_shards(reuse_run):
        raise NotFound(
            f"{reuse_run.uri!r} keeps no predictions; mine whole with --keep-predictions first, "
            "under another run id if that run is over"
        )
    then: dict[str, Any] = json.loads(reuse_run.read(SCORED_BY))
    for name, value in made_by.items():
        if then.get(name) != value:
            raise InvalidInput.of(
                "reuse_run",
                f"{reuse_run.uri!r} was scored with {name} {then.get(name)!r}, not {value!r}: its "
                "predictions would not be this run's; mine without --reuse-run",
            )


def add_content_keys(batch: pa.Table) -> pa.Table:
    """ROWS, and 64 bits of each that differ where its id, label or content does."""
    fields = zip(*(batch[name].to_pylist() for name in ("id", "label", "content")), strict=True)
    return batch.append_column(CONTENT_KEY, pa.array(id_keys(map(json.dumps, fields)), pa.uint64()))


def reuse_predictions(
    engine: Engine, rows: Batches, *, reuse_run: Folder, run: Folder, keep_dynamics: bool
) -> int:
    """Copy the scored rows of `reuse_run` that are as they were into `run`; how many rows.

    rows: ROWS of the present version, with content keys. keep_dynamics: whether training dynamics
    are about the present labels. Done again, it writes the same again.
    """
    shards = scored_shards(reuse_run)
    keys = [read_shard(reuse_run, shard, [CONTENT_KEY])[CONTENT_KEY] for shard in shards]
    earlier = pa.concat_arrays([chunk for column in keys for chunk in column.chunks]).unique()
    unchanged = rows.map(_Unchanged(earlier)).to_table()[CONTENT_KEY].combine_chunks()
    engine.for_each(_copy, list(enumerate(shards)), reuse_run, run, unchanged, keep_dynamics)
    return len(unchanged)


class _Unchanged:
    """A batch function: ROWS -> content keys of those without a fault that are `earlier` ones."""

    def __init__(self, earlier: pa.Array) -> None:
        self._earlier = earlier

    def __call__(self, batch: pa.Table) -> pa.Table:
        keys = batch.filter(batch[FAULT].is_null()).select([CONTENT_KEY])
        return keys.filter(pc.is_in(keys[CONTENT_KEY], value_set=self._earlier))


def _copy(
    numbered: tuple[int, str], reuse_run: Folder, run: Folder, kept: pa.Array, keep_dynamics: bool
) -> None:
    number, shard = numbered
    table = read_shard(reuse_run, shard)
    table = table.filter(pc.is_in(table[CONTENT_KEY], value_set=kept))
    dynamics = [column for column in table.column_names if column.startswith(DYNAMICS)]
    if table.num_rows:
        write_shard(
            run,
            f"{SCORED}/{PREFIX}-{number:06d}.parquet",
            table if keep_dynamics else table.drop_columns(dynamics),
        )
