"""Near-duplicates by MinHash and banding (Broder 1997; Leskovec et al., MMDS, section 3.4).

Two rows whose shingle sets have Jaccard similarity s share at least one of b
bands of r hashes with probability 1 - (1 - s^r)^b: 0.07 at 0.4, 0.64 at 0.7,
0.999 at 0.9 here.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from datasketch import MinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NUM_BANDS, ROWS_PER_BAND = 8, 6
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
SEED = 1
_FIRST = MinHash(num_perm=NUM_HASHES, seed=SEED)


def band_keys(shingles: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """One key a band, uint64 [NUM_BANDS]; rows that share one are near-duplicates."""
    # A sketch that draws its own permutations takes longer for that than for a short text.
    sketch = MinHash(NUM_HASHES, SEED, permutations=_FIRST.permutations, scheme=_FIRST.scheme)
    sketch.update_batch(list(shingles))
    bands = sketch.hashvalues.astype(np.uint64).reshape(NUM_BANDS, ROWS_PER_BAND)
    keys = np.arange(NUM_BANDS, dtype=np.uint64)
    for column in bands.T:  # FNV-1a over the band's hashes; uint64 wraps as it should
        keys = (keys ^ column) * np.uint64(0x100000001B3)
    return keys


def groups(
    id_keys: npt.NDArray[np.uint64], bands: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Rows that have near-duplicates: uint64 [grouped rows, 2], id key and group key.

    id_keys: [rows]; bands: [rows, NUM_BANDS]. Being alike is taken as transitive;
    a group goes by the smallest id key in it, so it stays when other rows come or go.
    """
    links = [link for band in bands.T for link in _links(band)]
    if not links:
        return np.empty((0, 2), np.uint64)
    left, right = np.array(links).T
    num_rows = len(id_keys)
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(num_rows, num_rows))
    _, component = connected_components(graph, directed=False)
    leader = np.full(component.max() + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(leader, component, id_keys)
    grouped = np.bincount(component)[component] > 1
    return np.stack([id_keys[grouped], leader[component[grouped]]], axis=1)


def _links(band: npt.NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Pairs of neighbouring rows with the same key, once rows are sorted by it."""
    order = np.argsort(band, kind="stable")
    same = band[order[1:]] == band[order[:-1]]
    return [pair for pair, alike in zip(pairwise(order.tolist()), same, strict=True) if alike]
