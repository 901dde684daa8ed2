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


def add(
    connection: Connection,
    campaign: Campaign,
    ranks: Sequence[int],
    *,
    labeler: str,
    lease: ItemLease,
    num_live: int,
) -> None:
    """Count leases that the labeler has until lease.expire_time, one for each rank."""
    values = {
        "group_id": lease.group_id,
        "expire_time": lease.expire_time,
        "campaign": campaign.campaign,
        "labeler": labeler,
        "role": lease.role,
        "ranks": json.dumps(ranks),
        "num_live": num_live,
    }
    sql.INSERT_GROUP.later(connection, values)


def add_delay(
    connection: Connection, campaign: Campaign, ranks: Sequence[int], *, not_before: float
) -> None:
    """Look at the items again at not_before, as if leases of nobody expired then."""
    lease = ItemLease(new_group_id(), LABELER, not_before)
    add(connection, campaign, ranks, labeler=NOBODY, lease=lease, num_live=0)


def count_leased(connection: Connection, campaign: Campaign, *, labeler: str, now: float) -> int:
    """The labeler's leases in force."""
    values = {"campaign": campaign.campaign, "labeler": labeler, "now": now}
    [[num]] = sql.COUNT_LEASED(connection, values)
    return int(num)


def look_up(
    connection: Connection, campaign: Campaign, tokens: Collection[str], *, labeler: str
) -> dict[str, tuple[int, str]]:
    """Rank and group of each token that the labeler got in the campaign; others are left out."""
    split = {lease_token: _split(lease_token) for lease_token in tokens}
    group_ids = list({group_id for group_id, _ in split.values()})
    ranks_of = {
        row.group_id: json.loads(row.ranks)
        for row in sql.LEASE_GROUPS(connection, {"group_ids": group_ids})
        if (row.campaign, row.labeler) == (campaign.campaign, labeler)
    }
    rank_and_group = {}
    for lease_token, (group_id, index) in split.items():
        ranks = ranks_of.get(group_id, ())
        if index < len(ranks):
            rank_and_group[lease_token] = ranks[index], group_id
    return rank_and_group


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


def remove(connection: Connection, leases: Iterable[ItemLease], *, later: bool = False) -> None:
    """Count leases no longer; a group without any is deleted, and its tokens are unknown.

    later: as item_updates.update's.
    """
    for (group_id, expire_time), num in _counts(leases).items():
        values = {"group_id": group_id, "expire_time": expire_time, "num": num}
        if later:  # one of them finds a row
            sql.DELETE_LAST.later(connection, values)
            sql.SHRINK_GROUP.later(connection, values)
        elif not sql.DELETE_LAST(connection, values):
            sql.SHRINK_GROUP(connection, values)


def _split(lease_token: str) -> tuple[str, int]:
    """Group and index; an index beyond every group where the token has none."""
    group_id, suffix = lease_token[:-NUM_INDEX_CHARACTERS], lease_token[-NUM_INDEX_CHARACTERS:]
    return group_id, _INDEX_OF.get(suffix, len(_SUFFIXES))


def _counts(leases: Iterable[ItemLease]) -> Counter[tuple[str, float]]:
    return Counter((lease.group_id, lease.expire_time) for lease in leases)
