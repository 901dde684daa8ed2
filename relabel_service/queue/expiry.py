"""Freeing the slots of items whose leases have expired. No sweeper to die: whoever asks, sweeps."""

import json
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER
from relabel_service.queue.item_updates import ItemGroup, group_items, update
from relabel_service.queue.ordering import SETBACK

LEASED = {LABELER: "leased", ADJUDICATOR: "adjudicating"}  # all slots of a role are leased
MAX_FREED = 1000  # about so many expired items are freed by one call; later calls do the others
MAX_GROUPS = 100  # expired groups that one call looks at


def free_expired(connection: Connection, campaign: Campaign, role: str, *, now: float) -> None:
    """Those whose leases of the role have expired; without waiting for other transactions."""
    values = {"campaign": campaign.campaign, "role": role, "now": now, "limit": MAX_GROUPS}
    num_seen = 0
    for expired in sql.EXPIRED_GROUPS(connection, values):
        ranks = json.loads(expired.ranks)
        num_seen += len(ranks)
        if num_seen > MAX_FREED and num_seen > len(ranks):
            break
        items = {"campaign": campaign.campaign, "ranks": ranks}
        rows = sql.LOCK_ROWS_SKIP_LOCKED(connection, items)
        lost = [row for row in rows if _is_lost(row, expired, now=now)]
        for group in group_items(connection, campaign, lost):
            _free(connection, campaign, group, expired, role, now=now)
        if len(rows) == len(ranks):  # otherwise an item is locked; a later call frees it
            key = {"group_id": expired.group_id, "expire_time": expired.expire_time}
            sql.MARK_EXPIRED(connection, key)
            if expired.labeler == lease_groups.NOBODY:
                sql.DELETE_LAST(connection, [{**key, "num": 0}], group_ids=[expired.group_id])


def _is_lost(row: Any, expired: Any, *, now: float) -> bool:
    if expired.labeler == lease_groups.NOBODY:
        return True
    lease = item_leases.read(row.leases, row.expired_leases).get(expired.labeler)
    return lease is not None and lease.group_id == expired.group_id and lease.expire_time <= now


def _free(
    connection: Connection,
    campaign: Campaign,
    group: ItemGroup,
    expired: Any,
    role: str,
    *,
    now: float,
) -> None:
    """The worst items still come first, but one that was lost while nobody else could have it
    is set back: an item that everybody lets expire cannot keep the others waiting."""
    was_delayed = (
        expired.labeler == lease_groups.NOBODY or group.row.not_before >= expired.expire_time
    )
    is_set_back = group.row.state == LEASED[role] and not was_delayed
    setback = SETBACK.get(campaign.settings.item_order, 0) if is_set_back else 0
    if expired.labeler == lease_groups.NOBODY and group.not_before <= expired.expire_time:
        # It has passed, whatever slower transactions take the time to be. A later one has not: the
        # item was released with delay again before anybody saw the end of this one.
        group.not_before = 0.0
    update(connection, campaign, group, now=now, setback=setback)
