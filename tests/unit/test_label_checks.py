"""Labels are checked against the very item they are about, before they are accepted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from relabel_service import confirm, relabel
from relabel_service.errors import InvalidInput
from relabel_service.media.fetch import data_uri
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.tasks import TASKS
from relabel_service.v1 import items_pb2, labels_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.data.png import encode
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, finding
from tests.support.people import ACCEPTED, Person

PICTURE = data_uri(encode(np.zeros((10, 20), np.uint8)), "image/png")  # 20 wide, 10 high


def spans(*ends: int) -> labels_pb2.Label:
    spans = [labels_pb2.Span(start=0, end=end, class_name="PER") for end in ends]
    return labels_pb2.Label(spans=labels_pb2.SpansLabel(spans=spans))


def box(x_max: float, y_max: float) -> labels_pb2.Label:
    box = labels_pb2.Box(x_min=0, y_min=0, x_max=x_max, y_max=y_max, class_name="PER")
    return labels_pb2.Label(boxes=labels_pb2.BoxesLabel(boxes=[box]))


CASES: list[tuple[str, str, labels_pb2.Label, labels_pb2.Label, str]] = [
    ("token_classification", json.dumps(["Ann", "sings"]), spans(2), spans(3), "2 tokens"),
    ("object_detection", PICTURE, box(20, 10), box(20, 12), "20x10 pixels"),
]


def findings(folder: Path, count: int, **values: Any) -> str:
    """A findings table about the class PER."""
    rows = [
        finding(rank, unit="PER", **{"suggestions": [], **values}) | {"classes": ["PER", "LOC"]}
        for rank in range(count)
    ]
    uri = str(folder / "findings")
    delta.append_once(uri, pa.Table.from_pylist(rows, schema=schemas.FINDINGS), app_id="run")
    return uri


@pytest.mark.parametrize(("task", "content", "valid", "invalid", "message"), CASES)
def test_a_label_that_leaves_its_item_is_refused_by_field(
    start: Start, tmp_path: Path, task: str, content: str, valid: Any, invalid: Any, message: str
) -> None:
    uri = findings(tmp_path, 3, task=task, content=content, human_label="[]")
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri), ADMIN)
    ann = Person(service, "ann")
    first, second, third = ann.lease(3)
    with pytest.raises(InvalidInput, match=message) as refused:
        ann.submit([confirm(first), relabel(second, invalid), relabel(third, valid)])
    assert [violation.field for violation in refused.value.violations] == ["results[1].label"]
    results = [confirm(first), relabel(second, valid), relabel(third, valid)]
    assert ann.submit(results) == [ACCEPTED] * 3  # nothing of the refused request was kept


TOKENS = json.dumps(["Ann", "in", "Rome"])


def tagged(start: int, class_name: str) -> labels_pb2.Label:
    span = labels_pb2.Span(start=start, end=start + 1, class_name=class_name)
    return labels_pb2.Label(spans=labels_pb2.SpansLabel(spans=[span]))


def boxed(x_min: float, class_name: str, *, count: int = 1) -> labels_pb2.Label:
    boxes = [
        labels_pb2.Box(x_min=x_min, y_min=0, x_max=x_min + 5, y_max=5, class_name=class_name)
        for _ in range(count)
    ]
    return labels_pb2.Label(boxes=labels_pb2.BoxesLabel(boxes=boxes))


@pytest.mark.parametrize(
    ("task", "content", "human", "renamed", "foreign"),
    [
        ("token_classification", TOKENS, tagged(0, "PER"), tagged(0, "LOC"), tagged(2, "LOC")),
        ("object_detection", PICTURE, boxed(0, "PER"), boxed(1, "LOC"), boxed(10, "LOC")),
    ],
)
def test_an_answer_names_other_classes_only_where_it_corrects_its_own(
    start: Start, tmp_path: Path, task: str, content: str, human: Any, renamed: Any, foreign: Any
) -> None:
    of_row = TASKS[task].label_from_wire(human)
    uri = findings(tmp_path, 2, task=task, content=content, human_label=of_row)
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri), ADMIN)
    ann = Person(service, "ann")
    first, second = ann.lease(2)
    with pytest.raises(InvalidInput, match="'PER'"):
        ann.submit([relabel(first, foreign)])
    assert ann.submit([relabel(first, renamed), relabel(second, human)]) == [ACCEPTED] * 2


def test_an_answer_may_hold_many_boxes(start: Start, tmp_path: Path) -> None:
    uri = findings(tmp_path, 1, task="object_detection", content=PICTURE, human_label="[]")
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri), ADMIN)
    ann = Person(service, "ann")
    [lease] = ann.lease(1)
    assert ann.submit([relabel(lease, boxed(0, "PER", count=500))]) == [ACCEPTED]


@pytest.mark.parametrize(
    ("task", "human", "votes", "num_agreeing"),
    [
        ("object_detection", boxed(0, "PER"), [boxed(10, "PER"), boxed(10.4, "PER")], 1),
        ("object_detection", boxed(0, "PER"), [boxed(10, "PER"), boxed(13, "PER")], 0),
        ("sequence_generation", "a", ["Caf\u00e9  noir", "Cafe\u0301 noir"], 1),
        ("sequence_generation", "a", ["Caf\u00e9 noir", "Caf\u00e9 blanc"], 0),
    ],
)
def test_people_agree_as_the_task_says(
    start: Start, tmp_path: Path, task: str, human: Any, votes: list[Any], num_agreeing: int
) -> None:
    wire = [
        labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text=label))
        if isinstance(label, str)
        else label
        for label in (human, *votes)
    ]
    of_row = TASKS[task].label_from_wire(wire[0])
    uri = findings(
        tmp_path, 1, task=task, human_label=of_row,
        content=PICTURE if task == "object_detection" else "un cafe",
    )  # fmt: skip
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri, votes_required=2), ADMIN)
    for name, label in zip(("ann", "bob"), wire[1:], strict=True):
        person = Person(service, name)
        [lease] = person.lease(1)
        assert person.submit([relabel(lease, label)]) == [ACCEPTED]
    stats = service.GetCampaignStats(rpc.GetCampaignStatsRequest(name=CAMPAIGN), ADMIN).stats
    assert (stats.num_done, stats.num_escalated) == (num_agreeing, 1 - num_agreeing)


def test_what_lies_at_an_address_is_not_fetched_to_judge_an_answer() -> None:
    task = TASKS["object_detection"]
    boxes = task.label_from_wire(box(999, 999))
    for content in ("s3://nowhere/picture.png", data_uri(b"broken", "image/png")):
        assert task.incompatible_label(boxes, task.content_to_wire(content)) is None


@pytest.mark.parametrize("task", [task for task in TASKS.values() if not task.refers_to_content])
def test_labels_that_name_no_part_of_their_content_suit_any(task: Any) -> None:
    assert task.incompatible_label("label", items_pb2.Content()) is None
