"""Items as labelers get them, made once when they are imported: serialized, in two halves.

A serialized message followed by another of its kind is the two merged, and a repeated field
is its elements one after another (protobuf's encoding). So the response to a lease request is
put together from stored bytes: an Item from its halves, a list of leases from its leases.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.lease import LargeItem, Lease
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tasks import task_named
from relabel_service.v1 import items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.values import timestamp

# 2: length-delimited
_TOKEN_TAG = bytes((leases_pb2.Lease.TOKEN_FIELD_NUMBER << 3 | 2,))
_ITEM_TAG = bytes((leases_pb2.Lease.ITEM_FIELD_NUMBER << 3 | 2,))
_VOTES_TAG = bytes((leases_pb2.Lease.VOTES_FIELD_NUMBER << 3 | 2,))
_LEASES_TAG = bytes((rpc.LeaseItemsResponse.LEASES_FIELD_NUMBER << 3 | 2,))
for _response in (rpc.StreamLeasesResponse, rpc.ListLeasesResponse):
    assert _response.LEASES_FIELD_NUMBER == rpc.LeaseItemsResponse.LEASES_FIELD_NUMBER


def serialize_item(campaign: Campaign, row: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """item_bytes, what everybody sees of a finding, and hint_bytes, left out of blind labelling.

    row: rank, row_id, unit, content, human_label, suggestions as pairs of label and
    probability, suspicion, reason; preferred_label, where there is one (older findings have
    no such column). Where gold or audit items are mixed in, nothing sets them apart.
    """
    task = task_named(campaign.task)
    item = items_pb2.Item(
        name=item_name(campaign, row["rank"]),
        row_id=_shown_id(campaign, row["row_id"]),
        unit=row["unit"],
        content=task.content_to_wire(row["content"]),
        human_label=task.label_to_wire(row["human_label"]),
        fingerprint=content_fingerprint(row["content"]),
    )
    hints = items_pb2.Item(
        suggestions=[
            items_pb2.Suggestion(label=task.label_to_wire(label), probability=probability)
            for label, probability in shown_suggestions(campaign, row)
        ]
    )
    if not campaign.settings.mixes:
        hints.suspicion, hints.rank, hints.reason = row["suspicion"], row["rank"], row["reason"]
        preferred = row.get("preferred_label")
        if preferred is not None:
            item.preferred_label.CopyFrom(task.label_to_wire(preferred))
    return item.SerializeToString(), hints.SerializeToString()


def shown_suggestions(campaign: Campaign, row: Mapping[str, Any]) -> Sequence[tuple[str, float]]:
    """Pairs of label and probability. Where gold or audit items are mixed in: one that differs from
    the human label, without its probability, and none where some item has none.

    A model agrees with most labels of random rows, and is sure of them: what it says of findings
    is of another kind.
    """
    if not campaign.settings.mixes:
        return list(row["suggestions"])
    if campaign.hides_suggestions:
        return []
    return [(label, 0.0) for label in alternatives(campaign.task, row)[:1]]


def alternatives(task: str, row: Mapping[str, Any]) -> list[str]:
    """Suggested labels that do not agree with the human label, most probable first."""
    agree = task_named(task).agree
    return [label for label, _ in row["suggestions"] if not agree(row["human_label"], label)]


def _shown_id(campaign: Campaign, row_id: str) -> str:
    """Gold rows come from a table of their own, whose ids may be of another kind."""
    return "" if campaign.settings.gold_uri else row_id


def serialize_leases(leases: Sequence[Lease], campaign: Campaign) -> bytes:
    """A serialized LeaseItemsResponse, which reads as a Stream- or ListLeasesResponse, too.

    Gold items are leased again and again, so where they are mixed in none says how often.
    """
    response = bytearray()
    for lease in leases:
        token, item = lease.token.encode(), _item_bytes(lease.item, campaign)
        num_attempts = 0 if campaign.settings.mixes else lease.num_earlier_attempts
        tail = _tail(lease.expire_time, num_attempts)
        if lease.votes:
            tail += _votes(lease, campaign)
        head = b"".join((_TOKEN_TAG, _varint(len(token)), token, tail, _ITEM_TAG))
        size = _varint(len(item))
        response += _LEASES_TAG + _varint(len(head) + len(size) + len(item))
        response += head + size
        response += item
    return bytes(response)


def item_name(campaign: Campaign, rank: int) -> str:
    """Always the same for the item; no number where one would tell the item's kind."""
    item_id = str(rank)
    if campaign.settings.mixes:
        name = f"{campaign.campaign}/{campaign.create_time}/{rank}".encode()
        secret = bytes.fromhex(campaign.settings.secret)  # without it anybody could try every rank
        item_id = hashlib.blake2b(name, digest_size=8, key=secret).hexdigest()
    return f"campaigns/{campaign.campaign}/items/{item_id}"


def _item_bytes(item: bytes | LargeItem, campaign: Campaign) -> bytes:
    if isinstance(item, bytes):
        return item
    return items_pb2.Item(
        name=item_name(campaign, item.rank),
        row_id=_shown_id(campaign, item.row_id),
        unit=item.unit,
        num_bytes=item.num_bytes,
    ).SerializeToString()


def _votes(lease: Lease, campaign: Campaign) -> bytes:
    task = task_named(campaign.task)
    votes = bytearray()
    for vote in lease.votes:
        shown = leases_pb2.Vote(
            decision=f"DECISION_{vote.decision.upper()}",
            label=None if vote.label is None else task.label_to_wire(vote.label),
            comment=vote.comment,
        ).SerializeToString()
        votes += _VOTES_TAG + _varint(len(shown)) + shown
    return bytes(votes)


@lru_cache(maxsize=1024)
def _tail(expire_time: float, num_earlier_attempts: int) -> bytes:
    """The same for most leases of a response."""
    return leases_pb2.Lease(
        expire_time=timestamp(expire_time), num_earlier_attempts=num_earlier_attempts
    ).SerializeToString()


@lru_cache(maxsize=4096)
def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
