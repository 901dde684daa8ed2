"""The order in which a campaign's items are leased: worst first, by class, or alike together.

An ordering gives each row its sort key; the lowest is leased first. Groups follow each other
in the order of their worst items, and so do items within their group.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from datasketch import MinHash, MinHashLSH

GROUP = 2**31  # sort keys of one group; more than there are ranks
NUM_HASHES = 64
ALIKE = 0.6  # Jaccard similarity of the contents' word pairs
SEED = 1

Row = Mapping[str, Any]  # rank, and the columns that the ordering reads
Ordering = Callable[[Row], int]


def worst_first(rows: Iterable[Row]) -> Ordering:
    return lambda row: int(row["rank"])


def by_class(rows: Iterable[Row]) -> Ordering:
    """By unit, or by human label where there is no unit."""
    worst: dict[str, int] = {}
    for row in rows:
        worst[_class(row)] = min(row["rank"], worst.get(_class(row), row["rank"]))
    turn = {name: number for number, name in enumerate(sorted(worst, key=worst.__getitem__))}
    return lambda row: turn[_class(row)] * GROUP + int(row["rank"])


def alike_together(rows: Iterable[Row]) -> Ordering:
    """An item joins the worst earlier item whose content is alike (MinHash and banding)."""
    index = MinHashLSH(threshold=ALIKE, num_perm=NUM_HASHES)
    leader: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        sketch = MinHash(num_perm=NUM_HASHES, seed=SEED)
        sketch.update_batch(_shingles(row["content"]))
        leaders = [leader[rank] for rank in index.query(sketch)]
        leader[row["rank"]] = min(leaders, default=row["rank"])
        index.insert(row["rank"], sketch)
    return lambda row: leader[row["rank"]] * GROUP + int(row["rank"])


ORDERINGS: dict[str, Callable[[Iterable[Row]], Ordering]] = {
    "worst_first": worst_first,
    "by_class": by_class,
    "alike_together": alike_together,
}
# Columns of all rows that an ordering reads before it can give the first sort key.
COLUMNS = {
    "worst_first": [],
    "by_class": ["rank", "unit", "human_label"],
    "alike_together": ["rank", "content"],
}
# What is added to the sort key of an item whose lease expired: it goes behind so many others,
# or, where alike items are together, behind so many groups.
SETBACK = {"worst_first": 1000, "by_class": 1000, "alike_together": 1000 * GROUP}


def _class(row: Row) -> str:
    return str(row["unit"] or row["human_label"])


def _shingles(content: str) -> list[bytes]:
    words = content.lower().split() or [""]
    pairs = [" ".join(pair) for pair in pairwise(words)]
    return [shingle.encode() for shingle in {*words, *pairs}]
