"""Near-duplicates by MinHash and banding (Broder 1997; Leskovec et al., MMDS, section 3.4).

Two rows whose shingle sets have Jaccard similarity s share at least one of b
bands of r hashes with probability 1 - (1 - s^r)^b: 0.07 at 0.4, 0.64 at 0.7,
0.999 at 0.9 here.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from datasketch import MinHash
from datasketch.hashfunc import sha1_hash32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NUM_BANDS, ROWS_PER_BAND = 8, 6
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
SEED = 1
BLOCK_SHINGLES = 1 << 16
_FIRST = MinHash(num_perm=NUM_HASHES, seed=SEED, scheme="affine32")


def band_keys(shingles: Sequence[Iterable[bytes]]) -> npt.NDArray[np.uint64]:
    """One key a row and band, uint64 [R, NUM_BANDS]; rows that share one are near-duplicates.

    shingles: of each row.
    """
    hashes = np.empty((len(shingles), NUM_HASHES), np.uint32)
    for rows, block in _blocks(shingles):
        hashes[rows] = _least(block)
    bands = hashes.astype(np.uint64).reshape(-1, NUM_BANDS, ROWS_PER_BAND)
    keys = np.tile(np.arange(NUM_BANDS, dtype=np.uint64), (len(shingles), 1))
    for number in range(ROWS_PER_BAND):  # FNV-1a over the band's hashes; uint64 wraps as it should
        keys = (keys ^ bands[:, :, number]) * np.uint64(0x100000001B3)
    return keys


def _blocks(shingles: Sequence[Iterable[bytes]]) -> Iterator[tuple[slice, list[list[bytes]]]]:
    """The rows in blocks of about BLOCK_SHINGLES."""
    start, block, size = 0, list[list[bytes]](), 0
    for number, row in enumerate(shingles, 1):
        block.append(list(row))
        size += len(block[-1])
        if size >= BLOCK_SHINGLES or number == len(shingles):
            yield slice(start, number), block
            start, block, size = number, [], 0


def _least(shingles: Sequence[Sequence[bytes]]) -> npt.NDArray[np.uint32]:
    """The hashes of a datasketch.MinHash of each row, [R, NUM_HASHES]; all at once, as a sketch for
    each row takes several times as long."""
    flat = [shingle for row in shingles for shingle in row]
    hash_of = {shingle: sha1_hash32(shingle) for shingle in dict.fromkeys(flat)}
    mixed = _mixed(np.array([hash_of[shingle] for shingle in flat], np.uint32))
    sizes = np.array([len(row) for row in shingles])
    found = np.full((len(shingles), NUM_HASHES), np.iinfo(np.uint32).max, np.uint32)
    if not len(flat):
        return found
    starts = (np.cumsum(sizes) - sizes)[sizes > 0]
    for number, (factor, added) in enumerate(_FIRST.permutations.T):
        found[sizes > 0, number] = np.minimum.reduceat(mixed * factor + added, starts)
    return found


def _mixed(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """MurmurHash3's finalizer, which datasketch's scheme affine32 begins with."""
    hashes = hashes ^ (hashes >> np.uint32(16))
    hashes = hashes * np.uint32(0x85EBCA6B)
    hashes = hashes ^ (hashes >> np.uint32(13))
    hashes = hashes * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def groups(
    id_keys: npt.NDArray[np.uint64], bands: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Rows that have near-duplicates: uint64 [grouped rows, 2], id key and group key, in the order
    of id keys: an engine may give the rows in another.

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
    pairs = np.stack([id_keys[grouped], leader[component[grouped]]], axis=1)
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def _links(band: npt.NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Pairs of neighbouring rows with the same key, once rows are sorted by it."""
    order = np.argsort(band, kind="stable")
    same = band[order[1:]] == band[order[:-1]]
    return [pair for pair, alike in zip(pairwise(order.tolist()), same, strict=True) if alike]
