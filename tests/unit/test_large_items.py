"""Items of any size: no answer passes the message limit, and what is left out is read by name."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relabel_service import tables
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.limits import Limits
from relabel_service.media import data_uri
from relabel_service.messages import lease_message
from relabel_service.queue.campaigns import Campaign, Settings
from relabel_service.queue.leases import Lease, QueueItem
from relabel_service.reading import CHUNK_BYTES, in_chunks
from relabel_service.service import LeaseService
from relabel_service.tasks import TASKS
from relabel_service.tasks.boxes import Box, write_boxes
from relabel_service.tasks.spans import Span, to_text
from relabel_service.v1 import items_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.campaigns import ADMIN, CAMPAIGN, create_request, finding
from tests.conftest import Start
from tests.people import Person

LIMITS = Limits(max_item_bytes=2000, max_response_bytes=4000)


def read(person: Person, name: str) -> items_pb2.Item:
    return person.service.read_item(rpc.ReadItemRequest(name=name), person.caller)


@pytest.fixture
def service(start: Start, tmp_path: Path) -> LeaseService:
    """Every second of six items is large, by its content or by its label."""
    rows = [finding(rank) for rank in range(6)]
    rows[1]["content"] = rows[3]["content"] = "text " * 5000
    rows[5]["human_label"] = "ham" * 5000
    uri = str(tmp_path / "findings")
    tables.append_once(uri, pa.Table.from_pylist(rows, tables.FINDINGS), app_id="run")
    made = LeaseService(start.store, limits=LIMITS)
    made.CreateCampaign(create_request(uri, votes_required=2), ADMIN)
    return made


def test_a_large_item_neither_breaks_nor_cuts_its_batch(service: LeaseService) -> None:
    ann = Person(service, "ann")
    taken = ann.lease(6)
    assert [one.item.row_id for one in taken] == [f"row-{rank}" for rank in range(6)]
    large = [one for one in taken if one.item.num_bytes]
    assert [one.item.row_id for one in large] == ["row-1", "row-3", "row-5"]
    assert not any(one.item.HasField("content") for one in large)
    whole = [read(ann, one.item.name) for one in large]
    assert [one.content.text.text for one in whole] == ["text " * 5000, "text " * 5000, "text 5"]
    assert whole[2].human_label.class_label.class_name == "ham" * 5000
    assert whole[0].suggestions[0].label.class_label.class_name == "spam"
    assert whole[0].rank == 1
    assert whole[0].suspicion == pytest.approx(0.899)


def test_only_whoever_holds_the_item_reads_it(service: LeaseService, start: Start) -> None:
    ann, bob = Person(service, "ann"), Person(service, "bob")
    large = ann.lease(2)[1]
    with pytest.raises(NotFound, match="'bob' holds no lease"):
        read(bob, large.item.name)
    with pytest.raises(NotFound, match="holds no lease"):
        read(ann, f"{CAMPAIGN}/items/4")
    ann.say(large, "spam")
    with pytest.raises(NotFound, match="holds no lease"):
        read(ann, large.item.name)
    with pytest.raises(InvalidInput, match="name"):
        read(ann, f"{CAMPAIGN}/items/../4")


def test_reading_shows_no_more_than_the_lease_does(start: Start, tmp_path: Path) -> None:
    start(num_items=3, blind_share=1.0, gold={"uri": gold(tmp_path), "run_id": "run", "rate": 0.5})
    service = LeaseService(start.store, limits=Limits(max_item_bytes=1))
    ann = Person(service, "ann")
    for one in ann.lease(3):
        whole = read(ann, one.item.name)
        assert whole.name == one.item.name
        assert not whole.suggestions
        assert (whole.suspicion, whole.rank, whole.reason) == (0.0, 0, "")


def gold(folder: Path) -> str:
    rows = [finding(0, id="gold-0") | {"gold_label": "spam"}]
    schema = tables.FINDINGS.append(pa.field("gold_label", pa.string()))
    uri = str(folder / "gold")
    tables.append_once(uri, pa.Table.from_pylist(rows, schema), app_id="run")
    return uri


def test_chunks_join_to_the_message() -> None:
    item = items_pb2.Item(name="n", content={"text": {"text": "x" * int(2.5 * CHUNK_BYTES)}})
    chunks = list(in_chunks(item))
    assert len(chunks) == 3
    assert items_pb2.Item.FromString(b"".join(chunks)) == item


texts = st.text(max_size=40)
names = st.text(min_size=1, max_size=8)
spans = st.lists(
    st.builds(Span, st.integers(0, 10**6), st.integers(0, 10**6), names), max_size=20
).map(to_text)
sides = st.floats(0, 1e5)
boxes = st.lists(st.builds(Box, names, sides, sides, sides, sides), max_size=20).map(write_boxes)
PARTS: dict[str, tuple[st.SearchStrategy[str], st.SearchStrategy[str]]] = {
    "text_classification": (texts, names),
    "image_classification": (st.binary().map(lambda data: data_uri(data, "image/png")), names),
    "audio_classification": (st.binary().map(lambda data: data_uri(data, "audio/wav")), names),
    "token_classification": (st.lists(texts).map(json.dumps), spans),
    "object_detection": (st.binary().map(lambda data: data_uri(data, "image/png")), boxes),
    "click_through_rate": (
        st.dictionaries(names, texts | st.integers() | st.floats() | st.none()).map(json.dumps),
        st.sampled_from("01"),
    ),
    "sequence_generation": (texts, texts),
}


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=30)
@given(data=st.data())
def test_a_message_is_never_larger_than_what_it_was_counted_as(
    task: str, data: st.DataObject
) -> None:
    content, label = PARTS[task]
    shown: dict[str, Any] = {
        "content": data.draw(content),
        "human_label": data.draw(label),
        "suggestions": tuple(data.draw(st.lists(st.tuples(label, st.floats(0, 1)), max_size=5))),
    }
    item = QueueItem(
        rank=2**31 - 1, kind="finding", row_id="é" * 9, unit="PER", suspicion=0.5,
        reason="why", **shown,
    )  # fmt: skip
    campaign = Campaign(
        campaign="c" * 63, task=task, findings_uri="", run_id="", classes=(), settings=Settings(),
        state="active", create_time=0.0, num_items=1, num_imported=1, findings_version=0,
    )  # fmt: skip
    lease = Lease("t" * 22, item, 2e9, 2**31 - 1, blind=False)
    message = lease_message(lease, campaign, max_item_bytes=item.num_bytes)
    assert 0 < message.ByteSize() + 8 <= item.num_bytes  # with the field's own tag and length
    assert lease_message(lease, campaign, max_item_bytes=0).ByteSize() < 1000
