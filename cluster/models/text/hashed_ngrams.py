"""Hashed n-grams of texts, counted for a whole batch at once on arrays of code points.

Owns which n-grams a text has and the bucket of each; knows nothing of weights or models. A text's
n-grams and their buckets follow from the text alone: no seed, no vocabulary, no machine in it.
scikit-learn's HashingVectorizer, which makes each n-gram a Python string, counts about a quarter
as many texts a second (bench/text_model.py).

Shapes: T texts, N code points, W words, G different n-grams of the texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BUCKET_BITS = 17
NUM_BUCKETS: int = 2**BUCKET_BITS
CHARACTERS = (2, 3, 4, 5)  # lengths of character n-grams, within words
# Words alone and pairs of neighbours are the word n-grams.
CHUNK_CHARACTERS = 2**16  # of texts counted together: the arrays of a chunk stay in the cache

SPACE, WORD, SIGN, UNKNOWN = range(4)
SEPARATOR, OPEN, CLOSE = ord("\n"), ord("<"), ord(">")
BASE, PAIR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, with mixed bits
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]  # all arithmetic on them wraps at 2**64, as it should


@dataclass(frozen=True)
class Counts:
    """How often each text has each n-gram; a text's word n-grams come first, then by bucket.

    bucket: int32 [G], in [0, NUM_BUCKETS). count: int64 [G], at least 1.
    starts: int64 [2 T + 1]; word n-grams of text t are starts[2 t]:starts[2 t + 1], its
    character n-grams follow up to starts[2 t + 2].
    """

    bucket: npt.NDArray[np.int32]
    count: Ints
    starts: Ints


def count_ngrams(texts: Sequence[str]) -> Iterator[Counts]:
    """Counts of the texts, letter case aside, in order: one Counts for each chunk of them."""
    lowered = [text.lower() for text in texts]
    sizes = np.cumsum([0, *map(len, lowered)])
    at = 0
    while at < len(lowered):
        end = int(np.searchsorted(sizes, sizes[at] + CHUNK_CHARACTERS, side="right")) - 1
        end = max(end, at + 1)
        yield _count(lowered[at:end])
        at = end


def _count(texts: Sequence[str]) -> Counts:
    codes = code_points(texts)
    kinds = _kinds(codes)
    text_ends = np.cumsum([len(text) + 1 for text in texts])  # each with its separator
    starts, ends = _words(kinds)
    text_of = np.searchsorted(text_ends, starts, side="right")
    words = _word_buckets(mixed(codes.astype(np.uint64)), starts, ends, text_of)
    characters = _character_buckets(codes, kinds, starts, ends, text_of)
    keys = np.concatenate([*words, *characters])
    keys.sort()
    first = np.flatnonzero(is_first(keys))
    different = keys[first]
    return Counts(
        bucket=(different & (NUM_BUCKETS - 1)).astype(np.int32),
        count=np.diff(first, append=len(keys)),
        starts=np.searchsorted(different >> BUCKET_BITS, np.arange(2 * len(texts) + 1)),
    )


def is_first(keys: Ints) -> npt.NDArray[np.bool_]:
    """Whether each of some sorted keys differs from the one before it."""
    found = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=found[1:])  # np.diff takes several times as long
    return found


def code_points(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """The texts one after another, a separator behind each: [N]."""
    joined = "\n".join([*texts, ""])
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")


def _kinds(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """SPACE, WORD (letters, digits and _, as in regular expressions) or SIGN of each: [N]."""
    kinds: npt.NDArray[np.uint8] = _KIND_OF[codes]
    if (kinds == UNKNOWN).any():
        for code in np.unique(codes[kinds == UNKNOWN]).tolist():
            sign = chr(code)
            word = WORD if sign.isalnum() or sign == "_" else SIGN
            _KIND_OF[code] = SPACE if sign.isspace() else word
        kinds = _KIND_OF[codes]
    return kinds


# Filled as code points are met: to ask Python of all 1.1 million takes a third of a second.
_KIND_OF = np.full(0x110000, UNKNOWN, np.uint8)


def _words(kinds: npt.NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Where words, and signs one by one, start and end: each [W]."""
    is_word = kinds == WORD
    after, before = np.empty_like(is_word), np.empty_like(is_word)
    after[0], after[1:] = False, is_word[:-1]
    before[-1], before[:-1] = False, is_word[1:]
    is_sign = kinds == SIGN
    starts = np.flatnonzero(is_sign | (is_word & ~after))
    ends = np.flatnonzero(is_sign | (is_word & ~before)) + 1
    return starts, ends


def _word_buckets(characters: Hashes, starts: Ints, ends: Ints, text_of: Ints) -> list[Ints]:
    """Keys of words, and of pairs of neighbours within a text."""
    if not len(starts):
        return []
    sizes = ends - starts
    powers = np.cumprod(np.full(int(sizes.max()), BASE, np.uint64))
    inside = _ranges(sizes)
    word = np.add.reduceat(
        characters[np.repeat(starts, sizes) + inside] * powers[inside], np.cumsum(sizes) - sizes
    )
    neighbours = text_of[1:] == text_of[:-1]
    pair = (mixed(word[:-1]) * PAIR + word[1:])[neighbours]
    return [_keys(word, 2 * text_of), _keys(pair, 2 * text_of[1:][neighbours])]


def _character_buckets(
    codes: npt.NDArray[np.uint32],
    kinds: npt.NDArray[np.uint8],
    starts: Ints,
    ends: Ints,
    text_of: Ints,
) -> list[Ints]:
    """Keys of runs of characters of each word, once it stands between OPEN and CLOSE."""
    sizes = ends - starts + 2
    last = np.cumsum(sizes)
    framed = np.empty(int(last[-1]) if len(last) else 0, np.uint32)
    is_inside = np.ones(len(framed), np.bool_)
    framed[last - sizes], framed[last - 1] = OPEN, CLOSE
    is_inside[last - sizes] = is_inside[last - 1] = False
    framed[is_inside] = codes[kinds != SPACE]
    left = np.repeat(last, sizes) - np.arange(len(framed))  # characters up to the word's end
    block = np.repeat(2 * text_of + 1, sizes)
    characters = mixed(framed.astype(np.uint64))
    found, run = [], characters
    powers = np.cumprod(np.full(CHARACTERS[-1], BASE, np.uint64))
    for length in range(2, CHARACTERS[-1] + 1):
        run = run[:-1] + characters[length - 1 :] * powers[length - 2]
        fits = left[: len(run)] >= length
        if length in CHARACTERS:
            found.append(_keys(run[fits], block[: len(run)][fits]))
    return found


def _keys(hashes: Hashes, block: Ints) -> Ints:
    """Block and bucket as one number; a text's blocks are words, 2 t, and characters, 2 t + 1."""
    bucket = (mixed(hashes) >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
    return (block << BUCKET_BITS) | bucket


def mixed(values: Hashes) -> Hashes:
    """splitmix64's last step (Steele et al. 2014): close numbers become far ones."""
    found = values + BASE
    found ^= found >> np.uint64(30)
    found *= MIX[0]
    found ^= found >> np.uint64(27)
    found *= MIX[1]
    found ^= found >> np.uint64(31)
    return found


def _ranges(sizes: Ints) -> Ints:
    """0 to size - 1 for each size, one after another."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
