"""Items too large to travel with their leases, read by name and cut into chunks."""

from collections.abc import Iterator

from sqlalchemy import Connection

from relabel_service.errors import NotFound
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_bytes import item_name
from relabel_service.queue.leased_items import given_ranks, held_item

CHUNK_BYTES = 2**20  # a gRPC client takes 4 MiB unless told otherwise


def named_item(connection: Connection, campaign: Campaign, name: str, *, labeler: str) -> bytes:
    """The encoded item as the labeler's lease shows it.

    Raises NotFound when the labeler holds none.
    """
    # A name need not tell the rank, so it is looked for among those the labeler was given.
    for rank in given_ranks(connection, campaign, labeler=labeler):
        if item_name(campaign, rank) == name:
            item = held_item(connection, campaign, rank, labeler=labeler)
            if item is not None:
                return item
    raise NotFound(f"{labeler!r} holds no lease on {name}; lease items, and read those")


def in_chunks(encoded: bytes) -> Iterator[bytes]:
    """An encoded message in pieces of CHUNK_BYTES, the last one shorter."""
    return (encoded[at : at + CHUNK_BYTES] for at in range(0, len(encoded), CHUNK_BYTES))
