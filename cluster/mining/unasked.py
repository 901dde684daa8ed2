"""What a mine run does not ask about: how suspicious it is, and a random sample of it to audit.

The unasked rows (and units) are those that are neither findings nor decided on, of the units
asked about. They are kept as counts by suspicion. Every unasked row is audited with the same
chance: the audit takes those with the smallest random numbers, which follow from the run, the id
and the unit, so that a repeated run draws the same.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.mining.rank import ShardScores, by_shard

NUM_BINS = 200  # of suspicion, of equal width

Counts = npt.NDArray[np.int64]


def unasked_rows(
    scores: Sequence[ShardScores], covered: Sequence[npt.NDArray[np.int32]]
) -> list[ShardScores]:
    """The rows that are neither findings of their shard nor copies of some (Ranked.covered)."""
    return [
        shard.where(~np.isin(shard.row, rows)) for shard, rows in zip(scores, covered, strict=True)
    ]


def draw_audit(unasked: Sequence[ShardScores], num_rows: int) -> list[pa.Table]:
    """A random sample of the unasked rows, by shard, as rank.CHOSEN; rank is the order of the
    draw, so that a smaller sample of the same run is the beginning of a larger one."""
    drawn = pa.concat_tables(
        [_smallest(number, shard, num_rows) for number, shard in enumerate(unasked)]
    )
    return by_shard(drawn.sort_by("draw").slice(0, num_rows), len(unasked))


def histogram(suspicion: npt.NDArray[np.float64], num_bins: int = NUM_BINS) -> Counts:
    """Rows in each bin, [num_bins]. suspicion: [R], in [0, 1]."""
    bins = np.minimum((suspicion * num_bins).astype(np.int64), num_bins - 1)
    counts: Counts = np.bincount(bins, minlength=num_bins)
    return counts


def bin_middles(num_bins: int = NUM_BINS) -> npt.NDArray[np.float64]:
    """Suspicion in the middle of each bin, [num_bins]."""
    middles: npt.NDArray[np.float64] = (np.arange(num_bins) + 0.5) / num_bins
    return middles


def unasked_histogram(unasked: Sequence[ShardScores]) -> list[int]:
    """Unasked rows by suspicion, [NUM_BINS]."""
    counts = sum((histogram(shard.suspicion) for shard in unasked), np.zeros(NUM_BINS, np.int64))
    return [int(count) for count in counts]


def _smallest(number: int, shard: ShardScores, num_rows: int) -> pa.Table:
    """Those rows of one shard that may be in the audit."""
    first = np.argsort(shard.draw, kind="stable")[:num_rows]
    return pa.table(
        {
            "draw": pa.array(shard.draw[first], pa.uint64()),
            "suspicion": shard.suspicion[first],
            "row": pa.array(shard.row[first]),
            "shard": np.full(len(first), number),
        }
    )
