"""Gold items among those that a labeler leases, so that nothing tells them apart.

What comes before an item follows from the item, the labeler and the campaign's secret. So items
that were released or expired come back in the same places, gold ones, too.
"""

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import item_leases
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.ordering import ALIKE_TOGETHER, GROUP

MAX_BEFORE = 100  # gold items before one other


def with_gold(
    connection: Connection, campaign: Campaign, rows: Sequence[Any], *, labeler: str, now: float
) -> list[Any]:
    """The first of the rows with gold items among them, as many in all; gold_rate of them are gold
    on average, until the labeler has seen all.

    rows: of NEXT_ITEMS, in their order. Gold rows are locked, as the others are.
    """
    places = {row.rank: num for row in rows if (num := _num_before(campaign, row, labeler))}
    if not places:
        return list(rows)
    in_campaign = {"campaign": campaign.campaign}
    gold = [(rank, sort_key) for rank, sort_key in sql.GOLD_KEYS(connection, in_campaign)]
    chosen = {
        row.rank: _chosen(campaign, row, labeler, gold, places[row.rank])
        for row in rows
        if row.rank in places
    }
    values = {
        **in_campaign,
        "ranks": sorted({rank for ranks in chosen.values() for rank in ranks}),
        "labeler": labeler,
        "labeler_key": item_leases.labeler_key(labeler),
        "now": now,
    }
    free = {row.rank: row for row in sql.GOLD_ITEMS(connection, values)}
    mixed: list[Any] = []
    for row in rows:
        mixed += [free.pop(rank) for rank in chosen.get(row.rank, ()) if rank in free]
        mixed.append(row)
    return mixed[: len(rows)]


def _num_before(campaign: Campaign, row: Any, labeler: str) -> int:
    """Gold items that come before the row, where the labeler has not seen them."""
    settings = campaign.settings
    if not settings.gold_rate:
        return 0
    if settings.item_order == ALIKE_TOGETHER and row.rank != row.sort_key // GROUP:
        return 0  # within a group they would be unlike the others
    chance, num = _chance(campaign, row, labeler, "num"), 0
    while num < MAX_BEFORE and chance.random() < settings.gold_rate:
        num += 1
    return num


def _chosen(
    campaign: Campaign, row: Any, labeler: str, gold: Sequence[tuple[int, int]], num: int
) -> list[int]:
    """Ranks of the gold items that come before the row: of its class, where those are together."""
    candidates = [
        rank
        for rank, sort_key in gold
        if campaign.settings.item_order != "by_class" or sort_key // GROUP == row.sort_key // GROUP
    ]
    chance = _chance(campaign, row, labeler, "which")
    return chance.sample(candidates, min(num, len(candidates)))


def _chance(campaign: Campaign, row: Any, labeler: str, what: str) -> random.Random:
    return random.Random(f"{campaign.settings.secret}/{labeler}/{row.rank}/{what}")
