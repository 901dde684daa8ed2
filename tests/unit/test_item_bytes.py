"""Stored halves of items put together are the messages that protobuf itself would write."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relabel_service.queue.campaigns import Campaign, Settings
from relabel_service.queue.item_bytes import serialize_item, serialize_leases
from relabel_service.queue.lease import Lease
from relabel_service.v1 import items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.values import timestamp


def campaign(**settings: Any) -> Campaign:
    return Campaign(
        campaign="test", task="text_classification", findings_uri="", run_id="run",
        classes=("ham", "spam"), settings=Settings(**settings), state="active", create_time=1.5,
        num_items=1, num_imported=1, findings_version=0,
    )  # fmt: skip


def row(content: str = "text", rank: int = 7) -> dict[str, Any]:
    return {
        "rank": rank, "row_id": "row", "unit": "", "content": content, "human_label": "ham",
        "suggestions": [("spam", 0.9), ("ham", 0.1)], "suspicion": 0.8, "reason": "why",
        "preferred_label": "spam",
    }  # fmt: skip


def read(*halves: bytes) -> items_pb2.Item:
    return items_pb2.Item.FromString(b"".join(halves))


def test_the_halves_are_the_item_and_blind_labelers_get_the_first() -> None:
    item, hints = serialize_item(campaign(), row())
    whole, blind = read(item, hints), read(item)
    assert (whole.content.text.text, whole.human_label.class_label.class_name) == ("text", "ham")
    assert [s.label.class_label.class_name for s in whole.suggestions] == ["spam", "ham"]
    assert (whole.suspicion, whole.rank, whole.reason) == (0.8, 7, "why")
    assert (blind.name, blind.content) == (whole.name, whole.content)
    assert (list(blind.suggestions), blind.suspicion, blind.rank, blind.reason) == ([], 0, 0, "")
    assert blind.preferred_label == whole.preferred_label == whole.suggestions[0].label


def test_no_label_is_preferred_where_nobody_has_said() -> None:
    whole = read(*serialize_item(campaign(), row() | {"preferred_label": None}))
    assert not whole.HasField("preferred_label")


def test_where_gold_is_mixed_in_nothing_tells_the_rank() -> None:
    whole = read(*serialize_item(campaign(gold_uri="gold"), row()))
    assert (whole.suspicion, whole.rank, whole.reason) == (0, 0, "")
    assert not whole.HasField("preferred_label")
    assert whole.name.removeprefix("campaigns/test/items/") != "7"
    [shown] = whole.suggestions  # another label than the human one, and how sure is hidden
    assert (shown.label.class_label.class_name, shown.probability) == ("spam", 0.0)
    other = read(*serialize_item(campaign(gold_uri="gold", secret="ab"), row()))
    assert other.name != whole.name  # what is public does not give the name away


@given(
    st.lists(
        st.tuples(st.integers(0, 40_000), st.floats(0, 2e9), st.integers(0, 2**31 - 1)),
        max_size=5,
    )
)
def test_a_list_of_leases_reads_as_protobuf_writes_it(
    leases: list[tuple[int, float, int]],
) -> None:
    queued, items = [], []
    for number, (size, expire_time, attempts) in enumerate(leases):
        item = b"".join(serialize_item(campaign(), row("x" * size)))
        items.append(item)
        queued.append(Lease(f"token-{number}", item, expire_time, attempts))
    expected = [
        leases_pb2.Lease(
            token=lease.token,
            item=read(item),
            expire_time=timestamp(lease.expire_time),
            num_earlier_attempts=lease.num_earlier_attempts,
        )
        for lease, item in zip(queued, items, strict=True)
    ]
    encoded = serialize_leases(queued, campaign())
    assert list(rpc.LeaseItemsResponse.FromString(encoded).leases) == expected
    assert list(rpc.StreamLeasesResponse.FromString(encoded).leases) == expected
