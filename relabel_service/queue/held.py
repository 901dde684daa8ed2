"""The items that one labeler holds, read outside of any change."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, select

from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.leases import Lease, QueueItem, is_blind


def held_ranks(connection: Connection, campaign: Campaign, *, labeler: str) -> list[int]:
    """Ranks of the items whose leases, expired or not, the labeler may still answer from."""
    lease = db.leases.c
    query = select(lease.rank).where(
        lease.campaign == campaign.campaign, lease.labeler == labeler, db.LIVE
    )
    return [int(rank) for rank in connection.execute(query).scalars()]


def held_item(
    connection: Connection, campaign: Campaign, rank: int, *, labeler: str
) -> Lease | None:
    """The labeler's newest lease on an item, with all of the item; None without one."""
    lease, item = db.leases.c, db.items.c
    query = (
        select(lease.token, lease.role, lease.expire_time, db.items)
        .join(db.items, and_(item.campaign == lease.campaign, item.rank == lease.rank))
        .where(lease.campaign == campaign.campaign, lease.rank == rank)
        .where(lease.labeler == labeler, db.LIVE)
        .order_by(lease.expire_time.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    blind = is_blind(campaign, rank, labeler=labeler, role=row["role"])
    return Lease(row["token"], _item(row), row["expire_time"], 0, blind)


def contents(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> Mapping[str, str]:
    """Token -> content of the item that the labeler's lease was given for."""
    lease, item = db.leases.c, db.items.c
    query = (
        select(lease.token, item.content)
        .join(db.items, and_(item.campaign == lease.campaign, item.rank == lease.rank))
        .where(lease.token.in_(tokens), lease.campaign == campaign.campaign)
        .where(lease.labeler == labeler)
    )
    return {row.token: row.content for row in connection.execute(query)}


def _item(row: RowMapping) -> QueueItem:
    known: dict[str, Any] = {name: row[name] for name in QueueItem.__dataclass_fields__}
    return QueueItem(**known | {"suggestions": tuple(map(tuple, json.loads(row["suggestions"])))})
