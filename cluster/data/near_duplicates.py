"""Near-duplicates by MinHash and banding (Broder 1997; Leskovec et al., MMDS, section 3.4).

Texts are compared by their runs of RUN characters. Two whose sets of runs have Jaccard similarity
s share at least one of b bands of r hashes with probability 1 - (1 - s^r)^b: 0.07 at 0.4, 0.64 at
0.7, 0.999 at 0.9 here. All runs of many texts are hashed at once, on arrays of code points: sets
of strings, and a sketch for each text, take some ten times as long.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cluster.models.text.hashed_ngrams import BASE, code_points, mixed
from relabel_service.tasks.shingles import RUN

NUM_BANDS, ROWS_PER_BAND = 8, 6
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
BLOCK_CHARACTERS = 1 << 16  # of texts hashed together: their arrays stay in the cache
PADDING = "\0"  # behind a text that is shorter than a run, so that it has one
FNV_PRIME = np.uint64(0x100000001B3)

Hashes = npt.NDArray[np.uint32]


def band_keys(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """One key a text and band, uint64 [R, NUM_BANDS]; texts that share one are near-duplicates."""
    hashes = np.empty((len(texts), NUM_HASHES), np.uint32)
    for block in _blocks(texts):
        hashes[block] = least_hashes(texts[block])
    bands = hashes.astype(np.uint64).reshape(-1, NUM_BANDS, ROWS_PER_BAND)
    keys = np.tile(np.arange(NUM_BANDS, dtype=np.uint64), (len(texts), 1))
    for number in range(ROWS_PER_BAND):  # FNV-1a over the band's hashes; uint64 wraps as it should
        keys = (keys ^ bands[:, :, number]) * FNV_PRIME
    return keys


def _blocks(texts: Sequence[str]) -> Iterator[slice]:
    """Neighbouring texts of about BLOCK_CHARACTERS together."""
    start, size = 0, 0
    for number, text in enumerate(texts, 1):
        size += len(text)
        if size >= BLOCK_CHARACTERS or number == len(texts):
            yield slice(start, number)
            start, size = number, 0


def least_hashes(texts: Sequence[str]) -> Hashes:
    """The least of each of NUM_HASHES hashes over a text's runs, [R, NUM_HASHES]: the share of them
    in which two texts agree is about the Jaccard similarity of their sets of runs."""
    padded = [text.ljust(RUN, PADDING) for text in texts]
    lengths = np.array([len(text) for text in padded])
    runs = _run_hashes(padded, lengths)
    num_runs = lengths - RUN + 1
    starts = np.cumsum(num_runs) - num_runs
    found = np.empty((len(texts), NUM_HASHES), np.uint32)
    for number, (factor, added) in enumerate(zip(FACTORS, ADDED, strict=True)):
        found[:, number] = np.minimum.reduceat(runs * factor + added, starts)
    return found


def _run_hashes(texts: Sequence[str], lengths: npt.NDArray[np.int64]) -> Hashes:
    """A hash of each run of RUN characters, text by text."""
    characters = mixed(code_points(texts).astype(np.uint64))
    powers = np.cumprod(np.full(RUN, BASE, np.uint64))
    last = len(characters) - RUN + 1
    runs = sum(characters[at : last + at] * powers[at] for at in range(RUN))
    is_inside = np.ones(last, np.bool_)
    separators = np.cumsum(lengths + 1) - 1  # one behind each text
    for before in range(RUN):  # runs that reach into the next text
        is_inside[(separators - before)[separators - before < last]] = False
    hashes: Hashes = (mixed(runs[is_inside]) >> np.uint64(32)).astype(np.uint32)
    return hashes


# hash -> hash * factor + added, modulo 2**32, is another hash of the same run.
_DRAWN = mixed(np.arange(2 * NUM_HASHES, dtype=np.uint64)) >> np.uint64(32)
FACTORS: Hashes = _DRAWN[::2].astype(np.uint32) | np.uint32(1)
ADDED: Hashes = _DRAWN[1::2].astype(np.uint32)


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
