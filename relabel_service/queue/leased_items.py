"""The items that one labeler holds, read outside of any change. Takes no locks."""

import json
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection

from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.lease import is_blind


def given_ranks(connection: Connection, campaign: Campaign, *, labeler: str) -> Iterator[int]:
    """Ranks of items that were given to the labeler; some are held no more."""
    values = {"campaign": campaign.campaign, "labeler": labeler}
    for (ranks,) in sql.HELD_RANKS(connection, values):
        yield from json.loads(ranks)


def held_item(
    connection: Connection, campaign: Campaign, rank: int, *, labeler: str
) -> bytes | None:
    """An item as the labeler's lease shows it (item_parts.py); None without one that may answer."""
    values = {"campaign": campaign.campaign, "ranks": [rank]}
    for row in sql.HOLDS(connection, values):
        hold = item_leases.read(row.holders, row.lapsed).get(labeler)
        if hold is None:
            return None
        [(_, item, hints)] = sql.PARTS(connection, values)
        blind = is_blind(campaign, rank, labeler=labeler, role=hold.role)
        return bytes(item) if blind else bytes(item) + bytes(hints)
    return None


def items_of(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> Mapping[str, bytes]:
    """By token, the item that it was given to the labeler for, without the model's view."""
    given = lease_groups.given(connection, campaign, tokens, labeler=labeler)
    ranks = sorted({rank for rank, _ in given.values()})
    if not ranks:
        return {}
    values = {"campaign": campaign.campaign, "ranks": ranks}
    items = {rank: bytes(item) for rank, item, _ in sql.PARTS(connection, values)}
    return {token: items[rank] for token, (rank, _) in given.items()}
