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

from cluster.data.folds import id_keys
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
        pa.field("copies", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Ranked:
    """findings: of each shard, as CHOSEN. covered: numbers of the shard's rows that are findings or
    copies of some, int32."""

    findings: list[pa.Table]
    covered: list[npt.NDArray[np.int32]]


@dataclass(frozen=True)
class ShardScores:
    """The K rows of a shard that people may be asked about.

    row: their numbers in the shard, int32 [K], rising. suspicion: [K], in [0, 1].
    draw: random numbers, uint64 [K], where an audit is drawn; else empty.
    twin: uint64 [K], the same for rows of the same unit, content and label; empty where copies are
    asked about each by itself.
    """

    shard: str
    row: npt.NDArray[np.int32]
    suspicion: Array
    draw: npt.NDArray[np.uint64]
    twin: npt.NDArray[np.uint64]

    def where(self, mask: npt.NDArray[np.bool_]) -> "ShardScores":
        draw, twin = (values[mask] if len(values) else values for values in (self.draw, self.twin))
        return ShardScores(self.shard, self.row[mask], self.suspicion[mask], draw, twin)


def score_shards(
    table: ScoredTable,
    stats: TableStats,
    *,
    units: frozenset[str],
    decided: Decided,
    draw_seed: str | None,
    each_copy: bool,
) -> list[ShardScores]:
    """The suspicion of the rows of the `units` that are not `decided` on, shard by shard.

    draw_seed: makes the random numbers for an audit; None makes none. each_copy: as MineConfig.
    """
    return table.for_each(_score_shard, stats, units, decided, draw_seed, each_copy)


def rank(
    table: ScoredTable, scores: Sequence[ShardScores], *, limit: int | None, least: float
) -> Ranked:
    """The `limit` worst rows, none below `least`; of rows that are twins the worst alone."""
    num_shards = len(scores)
    twins = np.concatenate([shard.twin for shard in scores])
    cutoff = _cutoff(np.concatenate([shard.suspicion for shard in scores]), twins, limit, least)
    worst = _named(table, [shard.where(shard.suspicion >= cutoff) for shard in scores])
    if len(twins):
        _, first = np.unique(worst["twin"].to_numpy(), return_index=True)
        worst = worst.take(np.sort(first))
    worst = worst.slice(0, limit) if limit is not None else worst
    copies, covered = pa.nulls(worst.num_rows, CHOSEN.field("copies").type), None
    if len(twins):
        asked = worst["twin"].to_numpy()
        same = [shard.where(np.isin(shard.twin, asked)) for shard in scores]
        covered = [shard.row for shard in same]
        if sum(map(len, covered)) > len(asked):
            copies = _copies(worst, _named(table, same))
    findings = by_shard(worst.append_column("copies", copies), num_shards)
    if covered is None:
        covered = [chosen["row"].to_numpy() for chosen in findings]
    return Ranked(findings, covered)


def _named(table: ScoredTable, shortlists: Sequence[ShardScores]) -> pa.Table:
    """The rows with their ids and units, the worst first."""
    named = table.engine.for_each(_with_names, list(enumerate(shortlists)), table.run)
    return pa.concat_tables(named).sort_by(WORST_FIRST)


def _copies(findings: pa.Table, same: pa.Table) -> pa.Array:
    """For each finding, the ids of the other rows that are the same; null where there are none."""
    ids: dict[int, list[str]] = {}
    for twin, row_id in zip(same["twin"].to_pylist(), same["id"].to_pylist(), strict=True):
        ids.setdefault(twin, []).append(row_id)
    copies = []
    for twin, asked in zip(findings["twin"].to_pylist(), findings["id"].to_pylist(), strict=True):
        others = sorted(set(ids[twin]) - {asked})
        copies.append(others or None)
    return pa.array(copies, CHOSEN.field("copies").type)


def by_shard(chosen: pa.Table, num_shards: int) -> list[pa.Table]:
    """Rows in the order of their ranks -> CHOSEN of each shard.

    chosen: `shard` (number), `row`, `suspicion`, and `copies` where there are any.
    """
    ranked = chosen.append_column("rank", pa.array(np.arange(chosen.num_rows)))
    if "copies" not in ranked.column_names:
        copies = pa.nulls(ranked.num_rows, CHOSEN.field("copies").type)
        ranked = ranked.append_column("copies", copies)
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
        read = scored
        if "content" not in scored.column_names:
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
    each_copy: bool,
) -> ShardScores:
    scored = read_with_ensemble(
        run, shard, has_ensemble=bool(stats.weights), with_content=not each_copy
    )
    none = np.empty(0, np.uint64)
    if not scored.num_rows:
        return ShardScores(shard, none.astype(np.int32), none.astype(np.float64), none, none)
    suspicion = scoring.suspicion(scored, stats.sums)
    rows = np.flatnonzero(is_in_units(scored, units) & ~is_decided(run, shard, scored, decided))
    draw = none
    if draw_seed is not None:
        draw = _draw(draw_seed, scored.select(["id", "unit"]).take(rows))
    twin = none if each_copy else _twins(scored.select(["unit", "label", "content"]).take(rows))
    return ShardScores(shard, rows.astype(np.int32), suspicion[rows], draw, twin)


def _draw(seed: str, names: pa.Table) -> npt.NDArray[np.uint64]:
    """A number for each row that has nothing to do with what the row holds, [R]."""
    digests = [
        hashlib.sha256("\0".join((seed, row_id, unit)).encode("utf-8", "surrogatepass")).digest()
        for row_id, unit in zip(names["id"].to_pylist(), names["unit"].to_pylist(), strict=True)
    ]
    return np.frombuffer(b"".join(digest[:8] for digest in digests), np.uint64)


def _cutoff(
    suspicion: Array, twins: npt.NDArray[np.uint64], limit: int | None, least: float
) -> float:
    """The suspicion below which no row is among the `limit` worst; at least `least`."""
    if limit is None or limit >= len(suspicion):
        return least
    if not len(twins):
        index = len(suspicion) - limit
        return max(least, float(np.partition(suspicion, index)[index]))
    order = np.argsort(-suspicion, kind="stable")
    _, first = np.unique(twins[order], return_index=True)
    if limit >= len(first):
        return least
    return max(least, float(suspicion[order[np.partition(first, limit - 1)[limit - 1]]]))


def _with_names(numbered: tuple[int, ShardScores], run: Folder) -> pa.Table:
    number, shortlist = numbered
    names = pa.table({"id": pa.array([], pa.string()), "unit": pa.array([], pa.string())})
    if len(shortlist.row):
        names = read_names(run, shortlist.shard).take(shortlist.row)
    return (
        names.append_column("suspicion", pa.array(shortlist.suspicion))
        .append_column("row", pa.array(shortlist.row))
        .append_column("twin", pa.array(_or_zeros(shortlist.twin, len(shortlist.row))))
        .append_column("shard", pa.array(np.full(len(shortlist.row), number)))
    )


def _or_zeros(values: npt.NDArray[np.uint64], num_rows: int) -> npt.NDArray[np.uint64]:
    return values if len(values) == num_rows else np.zeros(num_rows, np.uint64)


def _twins(scored: pa.Table) -> npt.NDArray[np.uint64]:
    """Keys of unit, content and label, [R]."""
    joined = pc.binary_join_element_wise(scored["unit"], scored["label"], scored["content"], "\0")
    return id_keys(joined)
