"""From scored shards to one order of the whole table: the suspicion of every row, and the findings.

The driver holds 12 bytes for each row that people may be asked about (20 where an audit is
drawn), and the ids of those that may be findings. Equally suspicious rows go by id, so the order
does not depend on the shards.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.interfaces import Array
from cluster.io.folder import Folder
from cluster.mining.scored_shards import ScoredTable, read_names, read_with_ensemble
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import TableStats
from relabel_service.tables.lineage import Decided

WORST_FIRST = [("suspicion", "descending"), ("id", "ascending"), ("unit", "ascending")]

CHOSEN = pa.schema(  # rows that become findings or audited rows, in the order of their ranks
    [
        pa.field("row", pa.int32()),
        pa.field("rank", pa.int64()),
        pa.field("suspicion", pa.float64()),
    ]
)


@dataclass(frozen=True)
class ShardScores:
    """The K rows of a shard that people may be asked about.

    row: their numbers in the shard, int32 [K], rising. suspicion: [K], in [0, 1].
    draw: random numbers, uint64 [K], where an audit is drawn; else empty.
    """

    shard: str
    row: npt.NDArray[np.int32]
    suspicion: Array
    draw: npt.NDArray[np.uint64]

    def where(self, mask: npt.NDArray[np.bool_]) -> "ShardScores":
        draw = self.draw[mask] if len(self.draw) else self.draw
        return ShardScores(self.shard, self.row[mask], self.suspicion[mask], draw)


def score_shards(
    table: ScoredTable,
    stats: TableStats,
    *,
    units: frozenset[str],
    decided: Decided,
    draw_seed: str | None,
) -> list[ShardScores]:
    """The suspicion of the rows of the `units` that are not `decided` on, shard by shard.

    draw_seed: makes the random numbers for an audit; None makes none.
    """
    return table.for_each(_score_shard, stats, units, decided, draw_seed)


def rank(
    table: ScoredTable, scores: Sequence[ShardScores], *, limit: int | None, least: float
) -> list[pa.Table]:
    """The findings of each shard, as CHOSEN: the `limit` worst rows, none below `least`."""
    cutoff = _cutoff([shard.suspicion for shard in scores], limit, least)
    shortlists = [shard.where(shard.suspicion >= cutoff) for shard in scores]
    named = table.engine.for_each(_with_names, list(enumerate(shortlists)), table.run)
    worst = pa.concat_tables(named).sort_by(WORST_FIRST)
    return by_shard(worst.slice(0, limit) if limit is not None else worst, len(scores))


def by_shard(chosen: pa.Table, num_shards: int) -> list[pa.Table]:
    """Rows in the order of their ranks -> CHOSEN of each shard.

    chosen: `shard` (number), `row`, `suspicion`.
    """
    ranked = chosen.append_column("rank", pa.array(np.arange(chosen.num_rows)))
    shard = chosen["shard"].to_numpy()
    order = np.argsort(shard, kind="stable")
    bounds = np.searchsorted(shard[order], np.arange(num_shards + 1))
    grouped = ranked.select(CHOSEN.names).take(order).cast(CHOSEN)
    return [
        grouped.slice(start, end - start)
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]


def is_decided(
    run: Folder, shard: str, scored: pa.Table, decided: Decided
) -> npt.NDArray[np.bool_]:
    """Whether people have decided on each of the shard's scored rows and units, [R]."""
    if not decided:
        return np.zeros(scored.num_rows, np.bool_)

    def contents() -> list[str | None]:
        read = read_with_ensemble(run, shard, has_ensemble=False, with_content=True)
        found: list[str | None] = read["content"].to_pylist()
        return found

    return decided.mask(scored["id"].to_pylist(), scored["unit"].to_pylist(), contents)


def is_in_units(scored: pa.Table, units: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Whether each scored row is about one of the units, [R]."""
    mask = pc.is_in(scored["unit"], value_set=pa.array(sorted(units), pa.string()))
    return np.asarray(mask.to_numpy(), np.bool_)


def _score_shard(
    shard: str,
    run: Folder,
    scoring: Scoring,
    stats: TableStats,
    units: frozenset[str],
    decided: Decided,
    draw_seed: str | None,
) -> ShardScores:
    scored = read_with_ensemble(run, shard, has_ensemble=bool(stats.weights))
    if not scored.num_rows:
        nothing = np.empty(0)
        return ShardScores(shard, nothing.astype(np.int32), nothing, nothing.astype(np.uint64))
    suspicion = scoring.suspicion(scored, stats.sums)
    rows = np.flatnonzero(is_in_units(scored, units) & ~is_decided(run, shard, scored, decided))
    draw = np.empty(0, np.uint64)
    if draw_seed is not None:
        draw = _draw(draw_seed, scored.select(["id", "unit"]).take(rows))
    return ShardScores(shard, rows.astype(np.int32), suspicion[rows], draw)


def _draw(seed: str, names: pa.Table) -> npt.NDArray[np.uint64]:
    """A number for each row that has nothing to do with what the row holds, [R]."""
    digests = [
        hashlib.sha256("\0".join((seed, row_id, unit)).encode("utf-8", "surrogatepass")).digest()
        for row_id, unit in zip(names["id"].to_pylist(), names["unit"].to_pylist(), strict=True)
    ]
    return np.frombuffer(b"".join(digest[:8] for digest in digests), np.uint64)


def _cutoff(of_shards: Sequence[Array], limit: int | None, least: float) -> float:
    """The suspicion below which no row is among the `limit` worst; at least `least`."""
    num_rows = sum(map(len, of_shards))
    if limit is None or limit >= num_rows:
        return least
    index = num_rows - limit
    return max(least, float(np.partition(np.concatenate(of_shards), index)[index]))


def _with_names(numbered: tuple[int, ShardScores], run: Folder) -> pa.Table:
    number, shortlist = numbered
    names = pa.table({"id": pa.array([], pa.string()), "unit": pa.array([], pa.string())})
    if len(shortlist.row):
        names = read_names(run, shortlist.shard).take(shortlist.row)
    return (
        names.append_column("suspicion", pa.array(shortlist.suspicion))
        .append_column("row", pa.array(shortlist.row))
        .append_column("shard", pa.array(np.full(len(shortlist.row), number)))
    )
