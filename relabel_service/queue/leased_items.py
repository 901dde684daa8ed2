"""The items that one labeler has leases on, read outside of any change. Takes no locks."""

import json
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection

from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.lease import (
    Lease,
    LeaseRequest,
    is_blind,
    is_large,
    read_items,
    shown_votes,
    within_max_bytes,
)


def leased_ranks(connection: Connection, campaign: Campaign, *, labeler: str) -> Iterator[int]:
    """Ranks of items that were leased to the labeler; some of those leases are over."""
    values = {"campaign": campaign.campaign, "labeler": labeler}
    for _, ranks in sql.GROUPS_OF_LABELER(connection, values):
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


def leases_in_force(
    connection: Connection, campaign: Campaign, request: LeaseRequest, *, after: str, now: float
) -> tuple[list[Lease], bool]:
    """The labeler's leases whose tokens come after `after`, in the order of tokens; whether there
    are more.

    As many as request.limit, and fewer where what is shown of their items would have more than
    request.max_bytes; a large item is to be read by itself.
    """
    values = {"campaign": campaign.campaign, "labeler": request.labeler}
    tokens = {
        (group_id, rank): lease_groups.token(group_id, index)
        for group_id, ranks in sql.GROUPS_OF_LABELER(connection, values)
        for index, rank in enumerate(json.loads(ranks))
    }
    ranks = sorted({rank for _, rank in tokens})
    found = []
    for row in sql.ITEM_LEASES(connection, {"campaign": campaign.campaign, "ranks": ranks}):
        lease = item_leases.read(row.leases, row.expired_leases).get(request.labeler)
        token = tokens.get((lease.group_id, row.rank)) if lease else None
        if lease and token and token > after and lease.in_force(now):
            found.append((token, row, lease))
    found.sort(key=lambda each: each[0])
    page = within_max_bytes([row for _, row, _ in found[: request.limit]], request)
    leases = found[: len(page)]
    roles = {row.rank: lease.role for _, row, lease in leases}
    items = read_items(
        connection,
        campaign,
        small=[row.rank for row in page if not is_large(row, request)],
        large=[row.rank for row in page if is_large(row, request)],
    )
    votes = shown_votes(connection, campaign, roles)
    listed = [
        Lease(
            token,
            items.seen(row.rank, labeler=request.labeler, role=lease.role),
            lease.expire_time,
            row.num_attempts - 1,
            votes.get(row.rank, ()),
        )
        for token, row, lease in leases
    ]
    return listed, len(found) > len(listed)


def items_by_token(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> Mapping[str, bytes]:
    """The items that the labeler's tokens are about, answered or not, with the model's view."""
    rank_and_group = lease_groups.look_up(connection, campaign, tokens, labeler=labeler)
    values = {"campaign": campaign.campaign, "labeler": labeler, "tokens": list(tokens)}
    rank_of = {row.token: row.rank for row in sql.RESULTS_BY_TOKEN(connection, values)}
    rank_of |= {token: rank for token, (rank, _) in rank_and_group.items()}
    ranks = sorted(set(rank_of.values()))
    if not ranks:
        return {}
    values = {"campaign": campaign.campaign, "ranks": ranks}
    items = {
        rank: bytes(item) + bytes(hints) for rank, item, hints in sql.ITEM_BYTES(connection, values)
    }
    return {token: items[rank] for token, rank in rank_of.items()}
