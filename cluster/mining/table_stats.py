"""Statistics of the whole table that every row's suspicion needs: sums, and stacking weights.

    pass 1  summarize_shards   counts; sums, or what the stacking weights are learned from
    here    the stacking weights, from a sample, where the task has an ensemble
    pass 2  compute_stats      the ensemble's columns of each row, kept; sums

Without an ensemble there is no second pass. Sums of shards are added in the shards' order.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from cluster.data.folds import id_keys
from cluster.io.folder import Folder
from cluster.mining.scored_shards import ScoredTable, read_scored, write_ensemble
from cluster.mining.scoring import Scoring, Sums
from cluster.tasks import model_task

SAMPLE_ROWS, SAMPLE_CELLS = 20_000, 4_000_000  # to learn from: rows, and rows x classes
STATS = "table_stats/stats.npz"


@dataclass(frozen=True)
class TableStats:
    """sums: what the task's suspicion needs of the whole table. weights: of the ensemble's models,
    empty without an ensemble."""

    sums: Sums
    weights: Sums = field(default_factory=dict)

    def write(self, run: Folder) -> None:
        """Keep the statistics in a run's folder."""
        named = {
            f"{kind}/{name}": values
            for kind, group in (("sums", self.sums), ("weights", self.weights))
            for name, values in group.items()
        }
        data = io.BytesIO()
        np.savez(data, **named)  # type: ignore[arg-type]
        run.write(STATS, data.getvalue())

    @classmethod
    def read(cls, run: Folder) -> "TableStats":
        """The statistics that a run has written."""
        groups: dict[str, Sums] = {"sums": {}, "weights": {}}
        with np.load(io.BytesIO(run.read(STATS))) as named:
            for key, values in named.items():
                kind, _, name = key.partition("/")
                groups[kind][name] = values
        return cls(**groups)


@dataclass(frozen=True)
class ShardSummary:
    """num_scored: rows (a row and unit each). num_faults: rows that were not scored.

    sums: the task's; with an ensemble its moments, and a sample of the rows.
    """

    num_scored: int
    num_faults: int
    sums: Sums
    sample: pa.Table | None = None


def summarize_shards(table: ScoredTable, *, num_scored: int) -> list[ShardSummary]:
    """One summary for each shard. num_scored: about how many rows (and units) all shards hold."""
    most = min(SAMPLE_ROWS, SAMPLE_CELLS // max(len(table.scoring.classes), 1))
    return table.for_each(_summarize, most / max(num_scored, 1))


def compute_stats(table: ScoredTable, summaries: Sequence[ShardSummary]) -> TableStats:
    """The table's statistics. With an ensemble, its columns of each shard are written too."""
    sums = _added([summary.sums for summary in summaries])
    ensemble, classes = table.scoring.ensemble, table.scoring.classes
    samples = [summary.sample for summary in summaries if summary.sample is not None]
    if ensemble is None or not samples:
        return TableStats(sums)
    # By id, so that the weights do not depend on how the rows are spread over the shards.
    weights = ensemble.learn(pa.concat_tables(samples).sort_by("id"), sums, classes)
    return TableStats(_added(table.for_each(_apply_ensemble, weights)), weights)


def stats_of_rows(scoring: Scoring, scored: pa.Table) -> tuple[TableStats, pa.Table]:
    """The statistics of rows that are all in memory; and these rows with the ensemble's columns."""
    weights: Sums = {}
    if (ensemble := scoring.ensemble) is not None:
        moments = ensemble.moments(scored, scoring.classes, scoring.num_folds)
        weights = ensemble.learn(scored, moments, scoring.classes)
        scored = ensemble.add_predictions(scored, weights, scoring.classes)
    return TableStats(model_task(scoring.task).sums(scored, scoring.classes), weights), scored


def _summarize(shard: str, run: Folder, scoring: Scoring, share: float) -> ShardSummary:
    """share: of the rows that the sample should hold; which ones follows from their ids."""
    scored, num_faults = read_scored(run, shard)
    if not scored.num_rows:
        return ShardSummary(0, num_faults, {})
    ensemble = scoring.ensemble
    if ensemble is None:
        sums = model_task(scoring.task).sums(scored, scoring.classes)
        return ShardSummary(scored.num_rows, num_faults, sums)
    moments = ensemble.moments(scored, scoring.classes, scoring.num_folds)
    sample = scored
    if share < 1:
        sample = scored.filter(pa.array(id_keys(scored["id"]) < share * 2.0**64))
    return ShardSummary(scored.num_rows, num_faults, moments, sample if sample.num_rows else None)


def _apply_ensemble(shard: str, run: Folder, scoring: Scoring, weights: Sums) -> Sums:
    scored, _ = read_scored(run, shard)
    if scoring.ensemble is None or not scored.num_rows:
        return {}
    by_models = scoring.ensemble.add_predictions(scored, weights, scoring.classes)
    write_ensemble(run, shard, by_models.select(by_models.column_names[scored.num_columns :]))
    return model_task(scoring.task).sums(by_models, scoring.classes)


def _added(of_shards: Sequence[Sums]) -> Sums:
    total: Sums = {}
    for sums in of_shards:
        for name, values in sums.items():
            total[name] = total[name] + values if name in total else values
    return total
