"""In which order items are handed out."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from relabel_service.queue.ordering import ORDERINGS
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


def test_a_lost_group_lets_others_go_first(start: Start, tmp_path: Path) -> None:
    rows = [finding(rank, content=f"text number {rank} alone") for rank in range(1002)]
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
