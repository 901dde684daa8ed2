"""Lease groups: the leases that one call gave, told apart by their index in the group.

Owns tokens, and the count of a labeler's leases. A group says which items it was given for;
whether one of its leases may still submit, only the item's row says (item_leases.py).
"""

import json
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import product
from string import ascii_letters, digits
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import LABELER, ItemLease

NUM_RANDOM_BYTES = 16
NUM_INDEX_CHARACTERS = 2
_SUFFIXES = [
    "".join(pair) for pair in product(ascii_letters + digits + "-_", repeat=NUM_INDEX_CHARACTERS)
]
_INDEX_OF = {suffix: index for index, suffix in enumerate(_SUFFIXES)}
NOBODY = ""


def new_group_id() -> str:
    return secrets.token_urlsafe(NUM_RANDOM_BYTES)


def token(group_id: str, index: int) -> str:
    return group_id + _SUFFIXES[index]


def added(
    campaign: Campaign,
    ranks: Sequence[int],
    *,
    labeler: str,
    lease: ItemLease,
    num_live: int,
) -> dict[str, Any]:
    """What INSERT_GROUPS stores: leases that the labeler has until lease.expire_time, one for each
    rank."""
    return {
        "group_id": lease.group_id,
        "expire_time": lease.expire_time,
        "campaign": campaign.campaign,
        "labeler": labeler,
        "role": lease.role,
        "ranks": json.dumps(ranks),
        "num_live": num_live,
        "state": "active",
    }


def add_delay(
    connection: Connection, campaign: Campaign, ranks: Sequence[int], *, not_before: float
) -> None:
    """Look at the items again at not_before, as if leases of nobody expired then."""
    lease = ItemLease(new_group_id(), LABELER, not_before)
    group = added(campaign, ranks, labeler=NOBODY, lease=lease, num_live=0)
    sql.INSERT_GROUPS.later(connection, [group])


def count_leased(connection: Connection, campaign: Campaign, *, labeler: str, now: float) -> int:
    """The labeler's leases in force."""
    values = {"campaign": campaign.campaign, "labelers": [labeler], "now": now}
    return sum(int(num) for _, num in sql.COUNT_LEASED(connection, values))


def look_up(
    connection: Connection, campaign: Campaign, tokens: Collection[str], *, labeler: str
) -> dict[str, tuple[int, str]]:
    """Rank and group of each token that the labeler got in the campaign; others are left out."""
    [found] = look_up_all(connection, campaign, [(labeler, tokens)])
    return found


def look_up_all(
    connection: Connection, campaign: Campaign, asked: Sequence[tuple[str, Collection[str]]]
) -> list[dict[str, tuple[int, str]]]:
    """As look_up, for several labelers at once. asked: labelers and their tokens."""
    split = [[(token, *_split(token)) for token in tokens] for _, tokens in asked]
    group_ids = list({group_id for each in split for _, group_id, _ in each})
    ranks_of = {
        (row.group_id, row.labeler): json.loads(row.ranks)
        for row in sql.LEASE_GROUPS(connection, {"group_ids": group_ids})
        if row.campaign == campaign.campaign
    }
    found = []
    for (labeler, _), each in zip(asked, split, strict=True):
        rank_and_group = {}
        for lease_token, group_id, index in each:
            ranks = ranks_of.get((group_id, labeler), ())
            if index < len(ranks):
                rank_and_group[lease_token] = ranks[index], group_id
        found.append(rank_and_group)
    return found


def extend(connection: Connection, leases: Iterable[ItemLease], *, expire_time: float) -> None:
    """Count leases under their new expiry."""
    extended = list(leases)
    for (group_id, before), num in _counts(extended).items():
        values = {
            "group_id": group_id,
            "expire_time": before,
            "to_expire_time": expire_time,
            "num": num,
        }
        sql.EXTEND_GROUP(connection, values)
    remove(connection, extended)


def remove(connection: Connection, leases: Iterable[ItemLease]) -> None:
    """Count leases no longer; a group without any is deleted, and its tokens are unknown."""
    gone = [
        {"group_id": group_id, "expire_time": expire_time, "num": num}
        for (group_id, expire_time), num in _counts(leases).items()
    ]
    group_ids = [row["group_id"] for row in gone]
    sql.DELETE_LAST.later(connection, gone, group_ids=group_ids)  # of each group one finds a row
    sql.SHRINK_GROUPS.later(connection, gone, group_ids=group_ids)


def _split(lease_token: str) -> tuple[str, int]:
    """Group and index; an index beyond every group where the token has none."""
    group_id, suffix = lease_token[:-NUM_INDEX_CHARACTERS], lease_token[-NUM_INDEX_CHARACTERS:]
    return group_id, _INDEX_OF.get(suffix, len(_SUFFIXES))


def _counts(leases: Iterable[ItemLease]) -> Counter[tuple[str, float]]:
    return Counter((lease.group_id, lease.expire_time) for lease in leases)
