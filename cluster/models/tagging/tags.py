"""BIO tags as numbers, and the best legal tagging of a sequence.

T tokens, C classes, G = 1 + 2 C tags: 0 is O, 1 + 2 c begins class c, 2 + 2 c continues it.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from relabel_service.tasks.spans import Span

LEAST = 1e-12  # probability whose logarithm is still taken

Tags = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]


def names(classes: Sequence[str]) -> list[str]:
    """Of all tags by number, [G], as checkpoints name them."""
    return ["O", *(f"{kind}-{name}" for name in classes for kind in "BI")]


def of_spans(spans: Sequence[Span], num_tokens: int, classes: Sequence[str]) -> Tags:
    """Tag of each token, [T]."""
    tags = np.zeros(num_tokens, np.int64)
    for start, end, class_name in spans:
        begin = 1 + 2 * classes.index(class_name)
        tags[start:end] = begin + 1
        tags[start] = begin
    return tags


def to_spans(tags: Tags, classes: Sequence[str]) -> list[Span]:
    """The spans of a legal tagging."""
    spans: list[Span] = []
    begins = np.flatnonzero(tags % 2 == 1)
    for begin in begins.tolist():
        inside = tags[begin] + 1
        stops = np.flatnonzero(tags[begin + 1 :] != inside)
        end = begin + 1 + int(stops[0]) if len(stops) else len(tags)
        spans.append(Span(begin, end, classes[int(tags[begin]) // 2]))
    return spans


def decode(probabilities: Probabilities) -> Tags:
    """The most probable legal tagging, [T], tokens taken as independent (Viterbi 1967).

    probabilities: [T, G]. Legal: an I- follows the B- or an I- of its class.
    """
    num_tokens, num_tags = probabilities.shape
    scores = np.log(np.maximum(probabilities, LEAST))
    likeliest: Tags = probabilities.argmax(axis=1)
    if _is_legal(likeliest):
        return likeliest
    allowed = _transitions(num_tags)
    best = np.where(np.arange(num_tags) % 2 == 0, -np.inf, scores[0])
    best[0] = scores[0, 0]
    came_from = np.zeros((num_tokens, num_tags), np.int64)
    for token in range(1, num_tokens):
        reached = best[:, None] + allowed
        came_from[token] = reached.argmax(axis=0)
        best = reached.max(axis=0) + scores[token]
    tags = np.empty(num_tokens, np.int64)
    tags[-1] = best.argmax()
    for token in range(num_tokens - 1, 0, -1):
        tags[token - 1] = came_from[token, tags[token]]
    return tags


def _is_legal(tags: Tags) -> bool:
    before = np.concatenate([[0], tags[:-1]])
    inside = (tags > 0) & (tags % 2 == 0)
    return bool((~inside | (before == tags) | (before == tags - 1)).all())


@lru_cache(maxsize=16)
def _transitions(num_tags: int) -> npt.NDArray[np.float64]:
    """0 where the column's tag may follow the row's, minus infinity where not: [G, G]."""
    before, after = np.arange(num_tags)[:, None], np.arange(num_tags)[None, :]
    inside = (after > 0) & (after % 2 == 0)
    legal = ~inside | (before == after) | (before == after - 1)
    return np.where(legal, 0.0, -np.inf)
