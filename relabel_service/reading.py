"""Items too large to travel with their leases, read by name and cut into chunks."""

from collections.abc import Iterator

from google.protobuf.message import Message
from sqlalchemy import Connection

from relabel_service.errors import NotFound
from relabel_service.messages import item_message, item_name
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.held import held_item, held_ranks
from relabel_service.v1 import items_pb2

CHUNK_BYTES = 2**20  # a gRPC client takes 4 MiB unless told otherwise


def named_item(
    connection: Connection, campaign: Campaign, name: str, *, labeler: str
) -> items_pb2.Item:
    """The item as the labeler's lease shows it. Raises NotFound when the labeler holds none."""
    # A name need not tell the rank, so it is looked for among those the labeler may ask about.
    for rank in held_ranks(connection, campaign, labeler=labeler):
        if item_name(campaign, rank) == name:
            lease = held_item(connection, campaign, rank, labeler=labeler)
            if lease is not None:
                return item_message(lease, campaign)
    raise NotFound(f"{labeler!r} holds no lease on {name}; lease items, and read those")


def in_chunks(message: Message) -> Iterator[bytes]:
    """The encoded message in pieces of CHUNK_BYTES, the last one shorter."""
    encoded = message.SerializeToString()
    return (encoded[at : at + CHUNK_BYTES] for at in range(0, len(encoded), CHUNK_BYTES))
