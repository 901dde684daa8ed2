"""In which order items are handed out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from relabel_service.errors import InvalidInput
from relabel_service.queue.ordering import ORDERINGS, alike_together
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from tests.conftest import Start
from tests.support.campaigns import ADMIN, create_request, finding
from tests.support.people import Person

SHORT = "see you at the station at {}"
LONG = "the quick brown fox jumps over the lazy dog near the old mill on day {} of the long march"


def begun(start: Start, folder: Path, rows: list[dict[str, Any]], order: str) -> LeaseService:
    uri = str(folder / "ordered")
    delta.append_once(uri, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri, item_order=f"ITEM_ORDER_{order.upper()}"), ADMIN)
    return service


def ranks(service: LeaseService, max_items: int = 100) -> list[int]:
    return [lease.item.rank for lease in Person(service, "ann").lease(max_items)]


def test_by_class_the_class_of_the_worst_item_comes_first(start: Start, tmp_path: Path) -> None:
    units = ["PER", "LOC", "PER", "ORG", "LOC", "PER"]
    rows = [finding(rank, unit=unit) for rank, unit in enumerate(units)]
    assert ranks(begun(start, tmp_path, rows, "by_class")) == [0, 2, 5, 1, 4, 3]


def test_without_units_the_human_label_is_the_class(start: Start, tmp_path: Path) -> None:
    labels = ["ham", "spam", "ham"]
    rows = [finding(rank, human_label=label) for rank, label in enumerate(labels)]
    assert ranks(begun(start, tmp_path, rows, "by_class")) == [0, 2, 1]


def test_alike_items_come_together(start: Start, tmp_path: Path) -> None:
    texts = [LONG.format(1), "hello", LONG.format(2), SHORT.format(9), LONG.format(3), "hello"]
    rows = [finding(rank, content=text) for rank, text in enumerate(texts)]
    assert ranks(begun(start, tmp_path, rows, "alike_together")) == [0, 2, 4, 1, 5, 3]


CAT = "猫坐在红色的垫子上面睡觉呢"


def picture(number: int) -> str:
    return f"data:image/png;base64,AAAA{number}AAA"


ALIKE = {  # task -> contents, of which the first, third and fourth are alike
    "token_classification": [
        json.dumps(LONG.format(1).split()),
        '["hello"]',
        json.dumps(LONG.format(2).split()),
        json.dumps(LONG.format(3).upper().split()),
    ],
    "sequence_generation": [CAT, "今天天气很好", CAT, f"{CAT}。"],
    "image_classification": [picture(1), picture(2), picture(1), picture(1)],
    "object_detection": [picture(1), picture(2), picture(1), picture(1)],
    "audio_classification": [picture(1), picture(2), picture(1), picture(1)],
}


@pytest.mark.parametrize("task", ALIKE)
def test_what_is_alike_is_the_tasks_to_say(task: str) -> None:
    rows = [
        {"rank": rank, "task": task, "content": content} for rank, content in enumerate(ALIKE[task])
    ]
    assert sorted(range(4), key=lambda rank: alike_together(rows)(rows[rank])) == [0, 2, 3, 1]


def test_contents_that_cannot_be_compared_are_refused(start: Start, tmp_path: Path) -> None:
    rows = [
        finding(rank, task="click_through_rate", content='{"age":3}', human_label="0")
        for rank in range(2)
    ]
    with pytest.raises(InvalidInput, match="cannot compare contents of click_through_rate"):
        begun(start, tmp_path, rows, "alike_together")
    assert ranks(begun(start, tmp_path, rows, "worst_first")) == [0, 1]


def test_a_lost_group_lets_others_go_first(start: Start, tmp_path: Path) -> None:
    rows = [
        finding(rank, content=hashlib.sha256(bytes([rank % 256, rank // 256])).hexdigest())
        for rank in range(1002)
    ]
    rows[1]["content"] = rows[0]["content"]
    service = begun(start, tmp_path, rows, "alike_together")
    assert ranks(service, 2) == [0, 1]
    start.clock.now += 301
    assert ranks(service, 2) == [2, 3]


def test_every_order_names_its_columns_and_how_far_lost_items_go_back() -> None:
    from relabel_service.queue import ordering
    from relabel_service.v1 import campaigns_pb2

    named = {
        name.removeprefix("ITEM_ORDER_").lower() for name in campaigns_pb2.ItemOrder.keys()[1:]
    }
    assert named == set(ORDERINGS) == set(ordering.COLUMNS) == set(ordering.SETBACK)
