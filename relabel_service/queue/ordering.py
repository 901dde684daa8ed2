"""The order in which a campaign's items are leased: worst first, by class, or alike together.

An ordering gives each row its sort key; the lowest is leased first. Groups follow each other
in the order of their worst items, and so do items within their group.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from relabel_service.tasks import task_named
from relabel_service.tasks.shingles import shingles

GROUP = 2**31  # sort keys of one group; more than there are ranks
NUM_HASHES = 64
ALIKE = 0.6  # Jaccard similarity of the contents' runs of characters
SEED = 1
ALIKE_TOGETHER = "alike_together"

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
    # A class that only audit or gold items have comes last.
    return lambda row: turn.get(_class(row), len(turn)) * GROUP + int(row["rank"])


def alike_together(rows: Iterable[Row]) -> Ordering:
    """An item joins the worst earlier item whose content is alike by its runs of characters
    (MinHash and banding); contents that cannot be compared stand alone."""
    # Here, since it imports scipy, for which every start of a service would wait.
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=ALIKE, num_perm=NUM_HASHES)
    leader: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        leader[row["rank"]] = row["rank"]
        text = task_named(row["task"]).compared_text(row["content"])
        if text is None:
            continue
        sketch = MinHash(num_perm=NUM_HASHES, seed=SEED)
        sketch.update_batch([*shingles(text)])
        leaders = [leader[rank] for rank in index.query(sketch)]
        leader[row["rank"]] = min(leaders, default=row["rank"])
        index.insert(row["rank"], sketch)
    return lambda row: leader[row["rank"]] * GROUP + int(row["rank"])


def mixed_in(sort_key: int, item_order: str) -> int:
    """The sort key of a gold or audit item that takes the place of the finding with that key.

    Where alike items are together it comes behind the group: within, it would be unlike the others.
    """
    return sort_key - sort_key % GROUP + GROUP - 1 if item_order == ALIKE_TOGETHER else sort_key


ORDERINGS: dict[str, Callable[[Iterable[Row]], Ordering]] = {
    "worst_first": worst_first,
    "by_class": by_class,
    ALIKE_TOGETHER: alike_together,
}
# Columns of all rows that an ordering reads before it can give the first sort key.
COLUMNS = {
    "worst_first": [],
    "by_class": ["rank", "unit", "human_label"],
    ALIKE_TOGETHER: ["rank", "content", "task"],
}
# What is added to the sort key of an item whose lease expired: it goes behind so many others,
# or, where alike items are together, behind so many groups.
SETBACK: Mapping[str, int] = {"worst_first": 1000, "by_class": 1000, ALIKE_TOGETHER: 1000 * GROUP}


def _class(row: Row) -> str:
    return str(row["unit"] or row["human_label"])
