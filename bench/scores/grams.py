"""Texts as rows of hashed n-grams: words 1-2, characters 2-5 within words; no loop over grams.

One prefix hash over the code points of all texts gives the hash of any span by
one subtraction (Karp and Rabin 1987), so a gram is a pair of places and all grams
of one length are two array slices. Weighted as log(1 + count) x idf, unit length.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, vstack

BUCKET_BITS = 18
WORDS = (1, 2)
CHARACTERS = (2, 3, 4, 5)
LEAST_ROWS = 2  # a gram in fewer rows tells nothing of other rows
BLOCK_TEXTS = 2000

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_SALT = 0xD6E8FEB86659FD93
_SPACE = ord(" ")


def counts(texts: Sequence[str]) -> csr_matrix:
    """How often each bucket's grams occur, float32 [R, 2**BUCKET_BITS]; lower case, by white space.

    Near-unique: two grams share a bucket with chance 2**-BUCKET_BITS.
    """
    blocks = [
        _block(texts[at : at + BLOCK_TEXTS]) for at in range(0, max(len(texts), 1), BLOCK_TEXTS)
    ]
    return vstack(blocks, format="csr")


def rows_with(counted: csr_matrix) -> npt.NDArray[np.int64]:
    """Rows that hold each bucket, [2**BUCKET_BITS]; sums of other texts add up."""
    return np.bincount(counted.indices, minlength=counted.shape[1])


def rarity(num_with: npt.NDArray[np.int64], num_rows: int) -> npt.NDArray[np.float32]:
    """Smoothed idf of each bucket, [2**BUCKET_BITS]; 0 for those in fewer than LEAST_ROWS rows."""
    idf = np.log((1 + num_rows) / (1 + num_with)) + 1
    return np.where(num_with >= LEAST_ROWS, idf, 0).astype(np.float32)


def weigh(counted: csr_matrix, idf: npt.NDArray[np.float32]) -> csr_matrix:
    """Rows of unit length (or zero, where nothing is known of a text), [R, 2**BUCKET_BITS]."""
    weighed = counted.copy()
    weighed.data = (1 + np.log(counted.data)) * idf[counted.indices]
    weighed.eliminate_zeros()
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    per_value = np.repeat(np.maximum(length, 1e-12), np.diff(weighed.indptr))
    weighed.data = (weighed.data / per_value).astype(np.float32)
    return weighed


def _block(texts: Sequence[str]) -> csr_matrix:
    padded = [f" {' '.join(text.lower().split())} " for text in texts]
    flat = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    document = np.repeat(np.arange(len(padded)), [len(text) for text in padded])
    spans = _Spans(flat)
    keys = [_keys(document, *spans.characters(length), spans, salt=length) for length in CHARACTERS]
    keys += [_keys(document, *spans.words(length), spans, salt=100 + length) for length in WORDS]
    found = np.sort(np.concatenate(keys))
    starts = np.flatnonzero(np.append(True, found[1:] != found[:-1])) if len(found) else found
    unique = found[starts]
    occurs = np.diff(np.append(starts, len(found))).astype(np.float32)
    pointers = np.searchsorted(unique >> BUCKET_BITS, np.arange(len(texts) + 1))
    buckets = unique & ((1 << BUCKET_BITS) - 1)
    return csr_matrix((occurs, buckets, pointers), shape=(len(texts), 1 << BUCKET_BITS))


def _keys(document: Places, start: Places, end: Places, spans: "_Spans", *, salt: int) -> Places:
    """(document, bucket) of each span within one document, in one integer."""
    inside = document[start] == document[end - 1]
    start, end = start[inside], end[inside]
    mixed = _mix(spans.hashes(start, end) + np.uint64((salt * _SALT) % 2**64))
    bucket = (mixed >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
    return (document[start] << BUCKET_BITS) | bucket


class _Spans:
    """Prefix hashes of a block's code points, and where its grams are."""

    def __init__(self, flat: npt.NDArray[np.uint32]) -> None:
        self._space = flat == _SPACE
        self._spaces_before = np.concatenate([[0], np.cumsum(self._space)])
        self._prefix = np.zeros(len(flat) + 1, np.uint64)
        np.cumsum(flat.astype(np.uint64) * _powers(_BASE, len(flat)), out=self._prefix[1:])
        self._inverse = _powers(pow(_BASE, -1, 2**64), len(flat))

    def hashes(self, start: Places, end: Places) -> Hashes:
        """Of the code points in [start, end), wherever they stand."""
        return (self._prefix[end] - self._prefix[start]) * self._inverse[start]

    def characters(self, length: int) -> tuple[Places, Places]:
        """Spans of a word with its surrounding spaces: none has a space inside."""
        start = np.arange(max(len(self._space) - length + 1, 0))
        end = start + length
        spaces_inside = self._spaces_before[end - 1] - self._spaces_before[start + 1]
        blank = self._space[start] & self._space[end - 1] & (length == 2)
        kept = (spaces_inside == 0) & ~blank
        return start[kept], end[kept]

    def words(self, length: int) -> tuple[Places, Places]:
        """Spans of `length` words."""
        start = np.flatnonzero(self._space[:-1] & ~self._space[1:]) + 1
        end = np.flatnonzero(~self._space[:-1] & self._space[1:]) + 1
        kept = max(len(start) - length + 1, 0)
        return start[:kept], end[length - 1 : length - 1 + kept]


def _powers(base: int, number: int) -> Hashes:
    powers = np.full(number, base, np.uint64)
    powers[:1] = 1
    np.multiply.accumulate(powers, out=powers)
    return powers


def _mix(hashes: Hashes) -> Hashes:
    """Splitmix64's finaliser: every bit of the hash sways the top bits, which are the bucket."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
