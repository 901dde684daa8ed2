"""Taking leases away from labelers, for an admin: the items are free again, as if released."""

from collections.abc import Collection

from sqlalchemy import Connection

from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_updates import group_items, update
from relabel_service.queue.leased_items import leased_ranks as ranks_leased_to


def leased_ranks(connection: Connection, campaign: Campaign) -> list[int]:
    """Of all items with leases that may still submit. Reads the whole campaign."""
    return [rank for rank, _, _ in sql.ALL_LEASES(connection, {"campaign": campaign.campaign})]


def labelers(connection: Connection, campaign: Campaign, ranks: Collection[int]) -> list[str]:
    """Those who have leases on the items."""
    values = {"campaign": campaign.campaign, "ranks": sorted(ranks)}
    rows = sql.ITEM_LEASES(connection, values) if ranks else []
    found = {name for row in rows for name in item_leases.read(row.leases, row.expired_leases)}
    return sorted(found)


def release(
    connection: Connection,
    campaign: Campaign,
    *,
    labeler: str,
    among: Collection[int] | None,
    now: float,
) -> int:
    """Release the labeler's leases, on the items `among` or on all; how many there were."""
    ranks = sorted({*ranks_leased_to(connection, campaign, labeler=labeler)})
    if among is not None:
        ranks = sorted({*ranks} & {*among})
    if not ranks:
        return 0
    values = {"campaign": campaign.campaign, "ranks": ranks}
    rows = {}
    leases = []
    for row in sql.LOCK_ROWS(connection, values):
        lease = item_leases.read(row.leases, row.expired_leases).get(labeler)
        if lease is not None:
            rows[row.rank] = row
            leases.append(lease)
    for group in group_items(connection, campaign, rows.values()):
        del group.leases[labeler]
        update(connection, campaign, group, now=now)
    if leases:
        lease_groups.remove(connection, leases)
    return len(leases)
