"""Batches: the leases that one call gave, which are told apart by their places in it.

Owns tokens, and the count of what a labeler holds. A batch says which items it was given
for; whether one of its leases may still answer, only the item's row says (holds.py).
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
from relabel_service.queue.item_leases import LABELER, Hold

NUM_RANDOM_BYTES = 16
_PLACES = ["".join(pair) for pair in product(ascii_letters + digits + "-_", repeat=2)]
_PLACE_OF = {text: place for place, text in enumerate(_PLACES)}
NOBODY = ""


def new_batch() -> str:
    return secrets.token_urlsafe(NUM_RANDOM_BYTES)


def token(batch: str, place: int) -> str:
    return batch + _PLACES[place]


def give(
    connection: Connection,
    campaign: Campaign,
    ranks: Sequence[int],
    *,
    labeler: str,
    hold: Hold,
    num_live: int,
) -> None:
    """Count leases that the labeler holds until hold.expire_time; a lease's place is its rank's."""
    values = {
        "batch": hold.batch,
        "expire_time": hold.expire_time,
        "campaign": campaign.campaign,
        "labeler": labeler,
        "role": hold.role,
        "ranks": json.dumps(ranks),
        "num_live": num_live,
    }
    sql.GIVE(connection, values)


def keep_back(
    connection: Connection, campaign: Campaign, ranks: Sequence[int], *, not_before: float
) -> None:
    """Look at the items again at not_before, as if a batch of nobody's expired then."""
    hold = Hold(new_batch(), LABELER, not_before)
    give(connection, campaign, ranks, labeler=NOBODY, hold=hold, num_live=0)


def count_held(connection: Connection, campaign: Campaign, *, labeler: str, now: float) -> int:
    """The labeler's leases in force."""
    values = {"campaign": campaign.campaign, "labeler": labeler, "now": now}
    [[num]] = sql.COUNT_HELD(connection, values)
    return int(num)


def given(
    connection: Connection, campaign: Campaign, tokens: Collection[str], *, labeler: str
) -> dict[str, tuple[int, str]]:
    """Rank and batch of each token that was given to the labeler in the campaign."""
    known = sql.BATCHES(connection, {"batches": list({one[:-2] for one in tokens})})
    ranks_of = {
        row.batch: json.loads(row.ranks)
        for row in known
        if (row.campaign, row.labeler) == (campaign.campaign, labeler)
    }
    found = {}
    for one in tokens:
        ranks, place = ranks_of.get(one[:-2], ()), _PLACE_OF.get(one[-2:], len(_PLACES))
        if place < len(ranks):
            found[one] = ranks[place], one[:-2]
    return found


def extend(connection: Connection, holds: Iterable[Hold], *, expire_time: float) -> None:
    """Count leases under their new expiry."""
    held = list(holds)
    for (batch, before), num in _counted(held).items():
        values = {"batch": batch, "expire_time": before, "to_expire_time": expire_time, "num": num}
        sql.EXTEND(connection, values)
    spend(connection, held)


def spend(connection: Connection, holds: Iterable[Hold]) -> None:
    """Count leases no longer; a batch without any is forgotten, and its tokens are unknown."""
    counts = _counted(holds)
    for (batch, expire_time), num in counts.items():
        sql.SPEND(connection, {"batch": batch, "expire_time": expire_time, "num": num})
    sql.FORGET(connection, {"batches": list({batch for batch, _ in counts})})


def _counted(holds: Iterable[Hold]) -> Counter[tuple[str, float]]:
    return Counter((one.batch, one.expire_time) for one in holds)
