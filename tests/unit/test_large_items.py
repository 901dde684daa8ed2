"""Items of any size: no response exceeds the limit, and what is left out is read by name."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.queue.store import open_store
from relabel_service.server.item_stream import CHUNK_BYTES, in_chunks
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import items_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, finding, request_id
from tests.support.people import Person
from tests.support.stores import new_queue_url

LIMITS = Limits(max_item_bytes=2000, max_response_bytes=4000)


def read(person: Person, name: str) -> items_pb2.Item:
    request = rpc.ReadItemRequest(name=name)
    return items_pb2.Item.FromString(person.service.read_item(request, person.caller))


@pytest.fixture
def service(start: Start, tmp_path: Path) -> LeaseService:
    """Every second of six items is large, by its content or by its label."""
    rows = [finding(rank) for rank in range(6)]
    rows[1]["content"] = rows[3]["content"] = "text " * 5000
    rows[5]["human_label"] = "ham" * 5000
    uri = str(tmp_path / "findings")
    delta.append_once(uri, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
    made = LeaseService(start.store, limits=LIMITS)
    made.CreateCampaign(create_request(uri, votes_required=2), ADMIN)
    return made


def test_a_large_item_neither_breaks_nor_cuts_its_batch(service: LeaseService) -> None:
    ann = Person(service, "ann")
    taken = ann.lease(6)
    assert [lease.item.row_id for lease in taken] == [f"row-{rank}" for rank in range(6)]
    large = [lease for lease in taken if lease.item.num_bytes]
    assert [lease.item.row_id for lease in large] == ["row-1", "row-3", "row-5"]
    assert not any(lease.item.HasField("content") for lease in large)
    whole = [read(ann, lease.item.name) for lease in large]
    assert [item.content.text.text for item in whole] == ["text " * 5000, "text " * 5000, "text 5"]
    assert whole[2].human_label.class_label.class_name == "ham" * 5000
    assert whole[0].suggestions[0].label.class_label.class_name == "spam"
    assert whole[0].rank == 1
    assert whole[0].suspicion == pytest.approx(0.899)


def test_only_whoever_has_a_lease_reads_the_item(service: LeaseService, start: Start) -> None:
    ann, bob = Person(service, "ann"), Person(service, "bob")
    large = ann.lease(2)[1]
    with pytest.raises(NotFound, match="'bob' has no lease"):
        read(bob, large.item.name)
    with pytest.raises(NotFound, match="has no lease"):
        read(ann, f"{CAMPAIGN}/items/4")
    ann.say(large, "spam")
    with pytest.raises(NotFound, match="has no lease"):
        read(ann, large.item.name)
    with pytest.raises(InvalidInput, match="name"):
        read(ann, f"{CAMPAIGN}/items/../4")


def test_reading_shows_no_more_than_the_lease_does(start: Start, tmp_path: Path) -> None:
    start(num_items=3, blind_share=1.0, gold={"uri": gold(tmp_path), "run_id": "run", "rate": 0.5})
    service = LeaseService(start.store, limits=Limits(max_item_bytes=1))
    ann = Person(service, "ann")
    for lease in ann.lease(3):
        whole = read(ann, lease.item.name)
        assert whole.name == lease.item.name
        assert not whole.suggestions
        assert (whole.suspicion, whole.rank, whole.reason) == (0.0, 0, "")


def gold(folder: Path) -> str:
    rows = [finding(0, id="gold-0") | {"gold_label": "spam"}]
    schema = schemas.FINDINGS.append(pa.field("gold_label", pa.string()))
    uri = str(folder / "gold")
    delta.append_once(uri, pa.Table.from_pylist(rows, schema), app_id="run")
    return uri


def test_chunks_join_to_the_message() -> None:
    item = items_pb2.Item(name="n", content={"text": {"text": "x" * int(2.5 * CHUNK_BYTES)}})
    chunks = list(in_chunks(item.SerializeToString()))
    assert len(chunks) == 3
    assert items_pb2.Item.FromString(b"".join(chunks)) == item


# NUL ends an import: no database takes it in text.
letters = st.characters(codec="utf-8", exclude_characters="\x00")
names = st.text(letters, min_size=1, max_size=8)


@settings(max_examples=30)
@given(
    shown=st.lists(st.tuples(st.text(letters, max_size=300), names), min_size=1, max_size=20),
    max_bytes=st.integers(1, 9000),
    max_item_bytes=st.integers(1, 900),
)
def test_no_answer_is_larger_than_the_limit(
    shown: list[tuple[str, str]], max_bytes: int, max_item_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            finding(rank, id=f"é{rank}", unit=unit, content=text)
            for rank, (text, unit) in enumerate(shown)
        ]
        uri = str(folder / "findings")
        delta.append_once(uri, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
        store = open_store(new_queue_url("sqlite", folder))
        limits = Limits(max_response_bytes=max_bytes, max_item_bytes=max_item_bytes)
        service = LeaseService(store, limits=limits)
        service.CreateCampaign(create_request(uri), ADMIN)
        request = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=99, request_id=request_id())
        response = service.LeaseItems(request, Person(service, "ann").caller)
        assert len(response.leases) == 1 or response.ByteSize() <= max_bytes
        assert all(lease.item.ByteSize() <= max(max_item_bytes, 400) for lease in response.leases)
        store.close()
