"""Label Studio's export comes in, and goes back as it was but for what was decided."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from relabel_service.errors import InvalidInput
from relabel_service.tables.formats import FORMATS, guess
from relabel_service.tasks.boxes import Box, write_boxes
from tests.support.imported import Imported


def task(number: int, data: dict[str, Any], *results: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": number,
        "annotations": [
            {
                "id": 10 * number,
                "completed_by": 1,
                "result": [{"id": f"r{i}", "origin": "manual", **r} for i, r in enumerate(results)],
                "was_cancelled": False,
                "ground_truth": False,
                "lead_time": 1.5,
            }
        ],
        "file_upload": "a.json",
        "drafts": [],
        "predictions": [{"model_version": "m", "result": []}],
        "data": data,
        "meta": {},
    }


def choice(*names: str) -> dict[str, Any]:
    return {
        "value": {"choices": list(names)},
        "from_name": "sentiment",
        "to_name": "t",
        "type": "choices",
    }


def span(start: int, end: int, text: str, name: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text, "labels": [name]}
    return {"value": value, "from_name": "ner", "to_name": "text", "type": "labels"}


def rectangle(name: str, x: float = 10, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": 20, "width": 25.5, "height": 50, "rotation": 0, "rectanglelabels": [name]}
    sizes = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return {
        **sizes,
        "value": value,
        "from_name": "boxes",
        "to_name": "img",
        "type": "rectanglelabels",
        **more,
    }


NOTE = {"value": {"rating": 3}, "from_name": "stars", "to_name": "t", "type": "rating"}
CHOSEN = [
    task(1, {"text": "good", "by": {"a": 1}}, NOTE, choice("pos")),
    task(2, {"text": "bad", "by": None}, choice("neg")),
    task(3, {"text": "both", "by": 2}, choice("pos", "neg")),
    {"id": 4, "data": {"text": "nobody"}, "annotations": [], "predictions": []},
]
CHOSEN[1]["annotations"].insert(0, {"id": 99, "result": [], "was_cancelled": True})
TAGGED = [
    task(
        1, {"text": "😀 Ann-Lee left Rome."}, span(2, 5, "Ann", "PER"), span(15, 19, "Rome", "LOC")
    ),
    task(2, {"text": "no one"}),
    task(3, {"text": "a b"}, span(0, 3, "a b", "X"), span(0, 1, "a", "Y")),
]
DRAWN = [
    task(1, {"image": "/data/upload/1/1f2e-a.png"}, rectangle("cat"), rectangle("dog", 60)),
    task(2, {"image": "s3://bucket/b.png"}),
]


def write(tmp_path: Path, tasks: list[dict[str, Any]]) -> Path:
    path = tmp_path / "project-1.json"
    path.write_text(json.dumps(tasks), "utf-8")
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("tasks", [CHOSEN, TAGGED, DRAWN])
def test_an_export_comes_back_as_it_was(tmp_path: Path, tasks: list[dict[str, Any]]) -> None:
    path = write(tmp_path, tasks)
    assert guess(str(path)) is FORMATS["label_studio"]
    table = Imported(path, tmp_path)
    table.shuffle()
    assert read(table.export("back.json")) == tasks


def test_choices_are_classes(tmp_path: Path) -> None:
    table = Imported(write(tmp_path, CHOSEN), tmp_path)
    assert [row["label"] for row in table.rows] == ["pos", "neg", None, None]
    assert "2 tasks have no label that a row can hold" in table.output
    table.decide("text_classification", 0, "neg")
    table.decide("text_classification", 3, "neg")
    expected = copy.deepcopy(CHOSEN)
    expected[0]["annotations"][0]["result"][1]["value"]["choices"] = ["neg"]
    back = read(table.export("back.json"))
    [new] = back[3].pop("annotations")
    expected[3].pop("annotations")
    assert back == expected
    [result] = new["result"]
    assert (result["from_name"], result["to_name"], result["value"]) == (
        "sentiment",
        "t",
        {"choices": ["neg"]},
    )


def test_spans_are_tags_of_tokens(tmp_path: Path) -> None:
    table = Imported(write(tmp_path, TAGGED), tmp_path)
    first, second, third = table.rows
    assert first["tokens"] == ["😀", "Ann", "-", "Lee", "left", "Rome", "."]
    assert first["label"] == ["O", "B-PER", "O", "O", "O", "B-LOC", "O"]
    assert second["label"] == ["O", "O"]
    assert third["label"] is None  # spans overlap
    table.decide("token_classification", 0, '[[1,4,"PER"],[5,6,"ORG"]]')
    results = read(table.export("back.json"))[0]["annotations"][0]["result"]
    assert results[1] == {**TAGGED[0]["annotations"][0]["result"][1], "value": results[1]["value"]}
    assert results[1]["value"] == {"start": 15, "end": 19, "text": "Rome", "labels": ["ORG"]}
    assert results[0]["value"] == {"start": 2, "end": 9, "text": "Ann-Lee", "labels": ["PER"]}


def test_spans_in_utf_16_units_are_told_by_their_text(tmp_path: Path) -> None:
    text = "😀 Ann-Lee left Rome."
    tasks = [task(1, {"text": text}, span(3, 6, "Ann", "PER"), span(16, 20, "Rome", "LOC"))]
    [row] = Imported(write(tmp_path, tasks), tmp_path).rows
    assert row["label"] == ["O", "B-PER", "O", "O", "O", "B-LOC", "O"]


def test_rectangles_are_boxes_in_pixels(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/1f2e-a.png").write_bytes(b"bytes")
    table = Imported(write(tmp_path, DRAWN), tmp_path, "--media", tmp_path / "files")
    first, second = table.rows
    assert first["label"][0] == {"label": "cat", "x0": 20, "y0": 20, "x1": 71, "y1": 70}
    assert first["image"] == {"bytes": b"bytes", "path": "1f2e-a.png"}
    assert second["image"] == {"bytes": None, "path": "s3://bucket/b.png"}
    boxes = [Box("lion", 20, 20, 71, 70), Box("dog", 121, 20, 171, 70)]
    table.decide("object_detection", 0, write_boxes(boxes))
    expected = copy.deepcopy(DRAWN)
    cat, dog = expected[0]["annotations"][0]["result"]
    cat["value"]["rectanglelabels"] = ["lion"]
    dog["value"] |= {"x": 60.5, "width": 25}
    assert read(table.export("back.json")) == expected


def test_several_controls_need_a_choice(tmp_path: Path) -> None:
    tasks = [task(1, {"text": "a"}, choice("x"), span(0, 1, "a", "X"))]
    path = write(tmp_path, tasks)
    with pytest.raises(
        InvalidInput, match=r"--control: is needed: .* has the controls ner, sentiment"
    ):
        Imported(path, tmp_path)
    assert Imported(path, tmp_path, "--control", "sentiment").rows[0]["label"] == "x"


def test_json_min_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": 1, "text": "a", "sentiment": "pos"}])
    with pytest.raises(InvalidInput, match=r"has no data; export as JSON \(not JSON-MIN\)"):
        Imported(path, tmp_path, "--format", "label_studio")


def test_annotations_that_were_cancelled_do_not_count_and_those_that_differ_are_told(
    tmp_path: Path,
) -> None:
    skipped, several, agreed = (task(n, {"text": f"text {n}"}, choice("a")) for n in (1, 2, 3))
    skipped["annotations"][0]["was_cancelled"] = True
    several["annotations"] += task(5, {}, choice("b"))["annotations"]
    several["annotations"] += task(6, {}, choice("c"))["annotations"]
    several["annotations"][1]["ground_truth"] = True
    agreed["annotations"] += [
        *task(7, {}, choice("a"))["annotations"],
        *task(8, {}, choice("z"))["annotations"],
    ]
    agreed["annotations"][2]["was_cancelled"] = True
    tasks = [skipped, several, agreed]
    table = Imported(write(tmp_path, tasks), tmp_path)
    assert [row["label"] for row in table.rows] == [None, "b", "a"]
    assert "1 tasks have annotations that differ" in table.output
    assert "1 tasks have no label" in table.output
    assert read(table.export("back.json")) == tasks
    table.decide("text_classification", 0, "z")
    cancelled, answered = read(table.export("decided.json"))[0]["annotations"]
    assert cancelled == skipped["annotations"][0]
    assert answered["result"][0]["value"] == {"choices": ["z"]}


def test_a_turned_rectangle_is_the_box_that_it_spans(tmp_path: Path) -> None:
    turned = rectangle("cat")
    turned["value"] |= {"rotation": 90}  # around (20, 20), beyond the picture's left edge
    tasks = [task(1, {"image": "s3://bucket/a.png"}, turned, rectangle("dog", x=50))]
    table = Imported(write(tmp_path, tasks), tmp_path)
    cat = table.rows[0]["label"][0]
    assert [round(cat[side], 6) for side in ("x0", "y0", "x1", "y1")] == [0, 20, 20, 71]
    assert read(table.export("back.json")) == tasks
    moved = [Box("cat", 0, 20, 30, 71), Box("dog", 100, 20, 151, 70)]
    table.decide("object_detection", 0, write_boxes(moved))
    [cat_result, dog_result] = read(table.export("moved.json"))[0]["annotations"][0]["result"]
    assert cat_result["value"]["rotation"] == 0
    assert cat_result["value"]["width"] == 15
    assert dog_result == tasks[0]["annotations"][0]["result"][1]


def test_pictures_within_the_tasks_come_in_as_their_bytes(tmp_path: Path) -> None:
    inline = "data:image/png;base64,Ynl0ZXM="
    tasks = [task(1, {"image": inline}, rectangle("cat")), task(2, {"image": inline})]
    table = Imported(write(tmp_path, tasks), tmp_path)
    assert table.rows[0]["image"] == {"bytes": b"bytes", "path": None}
    assert read(table.export("back.json")) == tasks


def test_given_tokens_are_kept_where_the_text_is_made_of_them(tmp_path: Path) -> None:
    given = {"text": "U.S. isn't big", "tokens": ["U.S.", "isn't", "big"]}
    other = {"text": "It is", "tokens": ["It", "was"]}
    tasks = [task(1, given, span(0, 4, "U.S.", "LOC")), task(2, other, span(0, 2, "It", "X"))]
    table = Imported(write(tmp_path, tasks), tmp_path)
    assert [row["tokens"] for row in table.rows] == [["U.S.", "isn't", "big"], ["It", "is"]]
    assert table.rows[0]["label"] == ["B-LOC", "O", "O"]
    assert read(table.export("back.json")) == tasks
