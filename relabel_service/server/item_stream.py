"""Items too large to travel with their leases, read by name and cut into chunks."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from relabel_service.errors import NotFound
from relabel_service.queue import forced_release
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_bytes import item_name
from relabel_service.queue.leased_items import leased_item, leased_ranks

CHUNK_BYTES = 2**20  # a gRPC client takes 4 MiB by default


def named_item(connection: Connection, campaign: Campaign, name: str, *, labeler: str) -> bytes:
    """The encoded item as the labeler's lease shows it.

    Raises NotFound when the labeler has none.
    """
    # A name need not reveal the rank, so it is looked for among the labeler's leases.
    for rank in leased_ranks(connection, campaign, labeler=labeler):
        if item_name(campaign, rank) == name:
            item = leased_item(connection, campaign, rank, labeler=labeler)
            if item is not None:
                return item
    raise NotFound(f"{labeler!r} has no lease on {name}; lease items, and read those")


def ranks_of(connection: Connection, campaign: Campaign, names: Sequence[str]) -> list[int]:
    """The ranks of leased items by name; names of items that nobody has leased are left out."""
    wanted = set(names)
    if not wanted:
        return []
    ranks = forced_release.leased_ranks(connection, campaign)
    return [rank for rank in ranks if item_name(campaign, rank) in wanted]


def ranks_of_items(connection: Connection, campaign: Campaign, names: Sequence[str]) -> list[int]:
    """The ranks of items by name, leased or not. Raises NotFound for a name of none."""
    wanted = set(names)
    query = select(db.queue.c.rank).where(db.queue.c.campaign == campaign.campaign)
    found = {
        name: rank
        for rank in connection.execute(query).scalars()
        if (name := item_name(campaign, rank)) in wanted
    }
    if missing := sorted(wanted - found.keys()):
        raise NotFound(f"there is no item {missing[0]}; send names as leases have them")
    return sorted(found.values())


def in_chunks(encoded: bytes) -> Iterator[bytes]:
    """An encoded message in pieces of CHUNK_BYTES, the last one shorter."""
    return (encoded[start : start + CHUNK_BYTES] for start in range(0, len(encoded), CHUNK_BYTES))
