"""What a mine run does not ask about: how suspicious it is, and a random sample of it to audit.

The rest is every row (and unit) that is neither a finding nor decided already, of the
units asked about. It is kept as counts by suspicion; the sample is of equal chances, drawn by a
hash of run, id and unit, so that parts can be drawn from alone and a repetition draws the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from cluster.mining.rank import Scoring, TableStats, by_part, scored_rows

NUM_BINS = 200  # of suspicion, alike in width

_DRAWN = pa.schema(
    [
        pa.field("lot", pa.uint64()),
        pa.field("suspicion", pa.float64()),
        pa.field("part", pa.string()),
        pa.field("place", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Rest:
    """counts: rows of the rest by suspicion, int64 [NUM_BINS]. audit: part -> the sample's places,
    as ranking.rank gives findings' places; rank is the order of the draw."""

    counts: npt.NDArray[np.int64]
    audit: Mapping[str, pa.Table]


def middles(num_bins: int = NUM_BINS) -> npt.NDArray[np.float64]:
    """Suspicion in the middle of each bin, [num_bins]."""
    found: npt.NDArray[np.float64] = (np.arange(num_bins) + 0.5) / num_bins
    return found


def histogram(
    suspicion: npt.NDArray[np.float64], num_bins: int = NUM_BINS
) -> npt.NDArray[np.int64]:
    """Rows in each bin, [num_bins]. suspicion: [R], in [0, 1]."""
    places = np.minimum((suspicion * num_bins).astype(np.int64), num_bins - 1)
    found: npt.NDArray[np.int64] = np.bincount(places, minlength=num_bins)
    return found


def rest(
    scoring: Scoring,
    places: Mapping[str, pa.Table],
    *,
    known: TableStats,
    num_audit: int,
    units: frozenset[str],
    decided: frozenset[tuple[str, str]],
) -> Rest:
    """One more look at the parts. places: of the findings. num_audit: rows to draw, or all."""
    shared = ray.put((known, units, decided))
    looked = ray.get(
        [_rest.remote(scoring, part, found, shared, num_audit) for part, found in places.items()]
    )
    counts = sum((one for one, _ in looked), np.zeros(NUM_BINS, np.int64))
    drawn = pa.concat_tables([_DRAWN.empty_table(), *(one for _, one in looked)])
    return Rest(counts, by_part(drawn.sort_by("lot").slice(0, num_audit), places))


@ray.remote
def _rest(
    scoring: Scoring,
    part: str,
    found: pa.Table,
    shared: tuple[TableStats, frozenset[str], frozenset[tuple[str, str]]],
    num_audit: int,
) -> tuple[npt.NDArray[np.int64], pa.Table]:
    known, units, decided = shared
    scored, places = scored_rows(scoring, part, known.learned)
    if not scored.num_rows:
        return np.zeros(NUM_BINS, np.int64), _DRAWN.empty_table()
    suspicion = scoring.suspicion(scored, known.sums)
    found_places = set(found["place"].to_pylist())
    names = list(zip(scored["id"].to_pylist(), scored["unit"].to_pylist(), strict=True))
    is_rest = np.array(
        [
            name[1] in units and name not in decided and place not in found_places
            for name, place in zip(names, places.to_pylist(), strict=True)
        ]
    )
    drawn = pa.table(
        {
            "lot": _lots(scoring.run_id, names),
            "suspicion": suspicion,
            "part": [part] * len(names),
            "place": places,
        },
        schema=_DRAWN,
    )
    drawn = drawn.filter(pa.array(is_rest)).sort_by("lot").slice(0, num_audit)
    return histogram(suspicion[is_rest]), drawn


def _lots(run_id: str, names: Sequence[tuple[str, str]]) -> npt.NDArray[np.uint64]:
    """A number a row that has nothing to do with what the row is."""
    digests = [
        hashlib.sha256("\0".join((run_id, *name)).encode("utf-8", "surrogatepass")).digest()[:8]
        for name in names
    ]
    return np.frombuffer(b"".join(digests), np.uint64)
