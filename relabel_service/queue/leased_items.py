"""The items that one labeler has leases on, read outside of any change. Takes no locks."""

import json
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection

from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.lease import is_blind


def leased_ranks(connection: Connection, campaign: Campaign, *, labeler: str) -> Iterator[int]:
    """Ranks of items that were leased to the labeler; some of those leases are over."""
    values = {"campaign": campaign.campaign, "labeler": labeler}
    for (ranks,) in sql.LEASED_RANKS(connection, values):
        yield from json.loads(ranks)


def leased_item(
    connection: Connection, campaign: Campaign, rank: int, *, labeler: str
) -> bytes | None:
    """An item as the labeler's lease shows it (item_bytes.py); None without a live lease."""
    values = {"campaign": campaign.campaign, "ranks": [rank]}
    for row in sql.ITEM_LEASES(connection, values):
        lease = item_leases.read(row.leases, row.expired_leases).get(labeler)
        if lease is None:
            return None
        [(_, item_bytes, hint_bytes)] = sql.ITEM_BYTES(connection, values)
        blind = is_blind(campaign, rank, labeler=labeler, role=lease.role)
        return bytes(item_bytes) if blind else bytes(item_bytes) + bytes(hint_bytes)
    return None


def items_by_token(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> Mapping[str, bytes]:
    """The items that the labeler's tokens are about, with the model's view."""
    rank_and_group = lease_groups.look_up(connection, campaign, tokens, labeler=labeler)
    ranks = sorted({rank for rank, _ in rank_and_group.values()})
    if not ranks:
        return {}
    values = {"campaign": campaign.campaign, "ranks": ranks}
    items = {
        rank: bytes(item) + bytes(hints) for rank, item, hints in sql.ITEM_BYTES(connection, values)
    }
    return {token: items[rank] for token, (rank, _) in rank_and_group.items()}
