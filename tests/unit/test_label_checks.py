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
from tests.conftest import Start
from tests.data.png import encode
from tests.support.campaigns import ADMIN, create_request, finding
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


@pytest.mark.parametrize(("task", "content", "valid", "invalid", "message"), CASES)
def test_a_label_that_leaves_its_item_is_refused_by_field(
    start: Start, tmp_path: Path, task: str, content: str, valid: Any, invalid: Any, message: str
) -> None:
    rows = [
        finding(rank, task=task, content=content, unit="PER", human_label="[]", suggestions=[])
        | {"classes": ["PER"]}
        for rank in range(3)
    ]
    uri = str(tmp_path / "findings")
    delta.append_once(uri, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri), ADMIN)
    ann = Person(service, "ann")
    first, second, third = ann.lease(3)
    with pytest.raises(InvalidInput, match=message) as refused:
        ann.submit([confirm(first), relabel(second, invalid), relabel(third, valid)])
    assert [violation.field for violation in refused.value.violations] == ["results[1].label"]
    results = [confirm(first), relabel(second, valid), relabel(third, valid)]
    assert ann.submit(results) == [ACCEPTED] * 3  # nothing of the refused request was kept


def test_what_lies_at_an_address_is_not_fetched_to_judge_an_answer() -> None:
    task = TASKS["object_detection"]
    boxes = task.label_from_wire(box(999, 999))
    for content in ("s3://nowhere/picture.png", data_uri(b"broken", "image/png")):
        assert task.incompatible_label(boxes, task.content_to_wire(content)) is None


@pytest.mark.parametrize("task", [task for task in TASKS.values() if not task.refers_to_content])
def test_labels_that_name_no_part_of_their_content_suit_any(task: Any) -> None:
    assert task.incompatible_label("label", items_pb2.Content()) is None
