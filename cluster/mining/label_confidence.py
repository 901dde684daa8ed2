"""Writes P(label is correct) for every row; training uses it as the row's sample weight.

It follows from a mine run that kept its scored rows, and from what people have decided since:
feedback changes the suspicion, and a label that people decided on counts as correct.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.folds import id_keys
from cluster.engine.base import Engine
from cluster.io.folder import Folder
from cluster.io.shards import write_shard
from cluster.mining.config import MineConfig
from cluster.mining.rank import is_decided, is_in_units
from cluster.mining.scored_shards import ScoredTable, read_with_ensemble, scored_shards
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import STATS, TableStats
from cluster.mining.unasked import NUM_BINS, Counts, histogram
from cluster.training import sample_weights
from cluster.training.model_store import ModelStore
from cluster.training.sample_weights import DONE, KEY, P_CORRECT, SHARDS, UNASKED
from relabel_service.errors import NotFound
from relabel_service.tables.lineage import Decided


def write_label_confidence(config: MineConfig, engine: Engine, uri: str) -> list[int]:
    """Write P(label is correct) of each row under `uri`, as a file for each of the run's shards.

    By config.feedback and config.decided, which may say more than when the run was made. A row of
    several units is as likely correct as its least likely unit. Returns the histogram of what
    people have not decided on, by P(label is wrong), as MineResult.unasked_histogram. Idempotent:
    where `uri` holds label confidence already, returns the stored histogram.
    Raises NotFound when the run kept no predictions.
    """
    if sample_weights.is_written(uri):
        return sample_weights.unasked_histogram(uri)
    run, shards = config.folder, scored_shards(config.folder)
    if not shards or not run.exists(STATS):
        raise NotFound(
            f"run {config.run_id!r} kept no predictions; mine under another run id with "
            "--keep-predictions (a loop: with another --out)"
        )
    manifest = ModelStore(config.store_uri).manifest()
    table = ScoredTable(engine, run, shards, config.scoring(manifest))
    units = config.asked_units(manifest)
    counts = table.for_each(_write_shard, TableStats.read(run), units, config.decided, uri)
    unasked = np.sum([np.zeros(NUM_BINS, np.int64), *counts], axis=0).tolist()
    Folder(uri).write(DONE, json.dumps({UNASKED: unasked}).encode())
    return sample_weights.unasked_histogram(uri)


def _write_shard(
    shard: str,
    run: Folder,
    scoring: Scoring,
    stats: TableStats,
    units: frozenset[str],
    decided: Decided,
    uri: str,
) -> Counts:
    """The undecided rows (and units) of one shard, by P(label is wrong): [NUM_BINS]."""
    scored = read_with_ensemble(run, shard, has_ensemble=bool(stats.weights))
    if not scored.num_rows:
        return np.zeros(NUM_BINS, np.int64)
    p_wrong = scoring.suspicion(scored, stats.sums)
    by_people = is_decided(run, shard, scored, decided)
    p_correct = np.where(by_people, 1.0, 1.0 - p_wrong)
    by_unit = pa.table({"id": scored["id"], P_CORRECT: p_correct})
    by_row = by_unit.group_by("id").aggregate([(P_CORRECT, "min")])
    rows = pa.table(
        {
            KEY: id_keys(by_row["id"]),
            P_CORRECT: pc.cast(by_row[f"{P_CORRECT}_min"], pa.float32()),
        }
    )
    write_shard(Folder(uri), f"{SHARDS}/{shard.rpartition('/')[2]}", rows)
    return histogram(p_wrong[is_in_units(scored, units) & ~by_people])
