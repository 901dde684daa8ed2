"""Pictures with boxes come in, and go back as they were but for what was decided."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from PIL import Image

from relabel_service.errors import InvalidInput
from relabel_service.tables.formats import FORMATS, guess
from relabel_service.tables.formats.boxes import pair
from relabel_service.tasks import task_named
from relabel_service.tasks.boxes import Box, write_boxes
from tests.support.imported import Imported

DETECTION = "object_detection"

COCO: dict[str, Any] = {
    "info": {"year": 2017, "description": "é"},
    "licenses": [{"id": 1, "name": "CC"}],
    "images": [
        {"id": 9, "file_name": "b.png", "width": 64, "height": 48, "license": 1},
        {"id": 4, "file_name": "sub/a.png", "width": 64, "height": 48},
        {"id": 5, "file_name": "empty.png", "width": 64, "height": 48},
    ],
    "annotations": [
        {
            "id": 100,
            "image_id": 4,
            "category_id": 3,
            "bbox": [1.123456, 2, 10, 12.5],
            "area": 77.7,
            "iscrowd": 0,
            "segmentation": [[1, 2, 5, 3, 9, 9]],
            "attributes": {"occluded": True},
        },
        {"id": 7, "image_id": 9, "category_id": 1, "bbox": [5, 5, 10, 10], "area": 100},
        {
            "id": 8,
            "image_id": 4,
            "category_id": 1,
            "bbox": [20, 20, 10, 10],
            "area": 100,
            "iscrowd": 1,
            "segmentation": {"counts": [1, 2], "size": [48, 64]},
        },
        {"id": 55, "image_id": 9, "caption": "no box here"},
        {"id": 56, "image_id": 9, "category_id": 3, "bbox": [5, 5, 10, 10], "area": 100},
    ],
    "categories": [
        {"id": 1, "name": "cat", "supercategory": "animal"},
        {"id": 3, "name": "dog", "keypoints": []},
    ],
}


def png(size: tuple[int, int] = (64, 48), colour: int = 128) -> bytes:
    data = io.BytesIO()
    Image.new("L", size, colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "data/sub").mkdir(parents=True)
    for number, name in enumerate(("b.png", "sub/a.png")):
        (tmp_path / "data" / name).write_bytes(png(colour=number))
    path = tmp_path / "data/instances.json"
    path.write_text(json.dumps(COCO), "utf-8")
    return path


def test_coco_comes_back_as_it_was(coco: Path, tmp_path: Path) -> None:
    table = Imported(coco, tmp_path)
    assert "3 rows of coco" in table.output
    assert f"1 files not found in {coco.parent}; give their folder by --media" in table.output
    table.shuffle()
    assert json.loads(table.export("back.json").read_text("utf-8")) == COCO


def test_coco_is_read_as_the_task_reads_it(coco: Path, tmp_path: Path) -> None:
    rows = Imported(coco, tmp_path).rows
    assert [row["id"] for row in rows] == [9, 4, 5]
    task = task_named(DETECTION)
    for row, boxes in zip(rows[:2], [2, 2], strict=True):
        content = task.read_content({"image": row["image"]})
        assert len(json.loads(task.read_label(row["label"], content))) == boxes
    assert rows[1]["label"][1] == {"label": "cat", "x0": 20, "y0": 20, "x1": 30, "y1": 30}
    assert rows[2]["label"] == []


def test_annotations_without_a_box_are_counted(coco: Path, tmp_path: Path) -> None:
    assert "1 annotations state no bbox" in Imported(coco, tmp_path).output


def test_links_keep_addresses(coco: Path, tmp_path: Path) -> None:
    rows = Imported(coco, tmp_path, "--link", "--media", "s3://bucket/images").rows
    assert rows[1]["image"] == {"bytes": None, "path": "s3://bucket/images/sub/a.png"}


def test_a_renamed_box_of_coco_changes_its_category_alone(coco: Path, tmp_path: Path) -> None:
    table = Imported(coco, tmp_path)
    label = write_boxes([Box("cat", 1.123456, 2, 11.123456, 14.5), Box("cat", 20, 20, 30, 30)])
    table.decide(DETECTION, 1, label)
    expected = copy.deepcopy(COCO)
    expected["annotations"][0]["category_id"] = 1
    assert json.loads(table.export("back.json").read_text("utf-8")) == expected


def test_moved_removed_and_new_boxes_of_coco(coco: Path, tmp_path: Path) -> None:
    table = Imported(coco, tmp_path)
    table.decide(
        DETECTION,
        0,
        write_boxes([Box("cat", 6, 5, 15.5, 15), Box("bird", 40, 30, 50, 40)]),
    )
    back = json.loads(table.export("back.json").read_text("utf-8"))
    expected = copy.deepcopy(COCO)
    expected["categories"].append({"id": 4, "name": "bird", "supercategory": ""})
    del expected["annotations"][4]  # the dog in the cat's place
    expected["annotations"][1] |= {"bbox": [6, 5, 9.5, 10], "area": 95}
    expected["annotations"].append(
        {
            "id": 101,
            "image_id": 9,
            "category_id": 4,
            "bbox": [40, 30, 10, 10],
            "area": 100,
            "iscrowd": 0,
            "segmentation": [],
        }
    )
    assert back == expected


def broken(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(COCO), **changes}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (json.dumps(COCO)[:-40], "is not whole JSON: .* at character"),
        (json.dumps({"images": []}), "has no annotations"),
        (json.dumps(broken(images=COCO["images"][:1])), "annotation 100 .* of image 4"),
        (json.dumps(broken(categories=[{"id": 1}])), "have an id and a name"),
        (json.dumps(broken(categories=[])), "of category [13], which its categories do not list"),
        (json.dumps(broken(images=COCO["images"] * 2)), "has image 4 2 times"),
        (
            json.dumps(broken(annotations=[{**COCO["annotations"][1], "bbox": [1, 2]}])),
            r"annotation 7 has bbox \[1, 2\]",
        ),
        (json.dumps(broken(images=[{"id": 1}], annotations=[])), "has no id and file_name"),
    ],
)
def test_what_is_not_coco_is_refused(tmp_path: Path, data: str, words: str) -> None:
    (tmp_path / "a.json").write_text(data)
    with pytest.raises(InvalidInput, match=words):
        Imported(tmp_path / "a.json", tmp_path, "--format", "coco")


def test_coco_longer_than_a_chunk_is_read(tmp_path: Path) -> None:
    many = {
        "images": [{"id": n, "file_name": f"{n}.png", "note": "é" * 99} for n in range(3000)],
        "annotations": [
            {"id": n, "image_id": n % 3000, "category_id": 1, "bbox": [n, 1, 2, 3], "area": 6}
            for n in range(6000)
        ],
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(many), "utf-8")
    assert guess(str(tmp_path / "a.json")) is FORMATS["coco"]
    table = Imported(tmp_path / "a.json", tmp_path, "--link")
    assert json.loads(table.export("b.json").read_text("utf-8")) == many


def test_a_box_is_given_back_to_the_one_it_was() -> None:
    were = [Box("a", 0, 0, 10, 10), Box("b", 0, 0, 10, 10), Box("a", 50, 50, 60, 60)]
    now = [Box("a", 51, 50, 60, 60), Box("c", 0, 0, 10, 10), Box("b", 0, 0, 10.001, 10)]
    paired = pair(were, [*now, Box("a", 90, 90, 99, 99)])
    assert [(one.was, one.moved, one.renamed) for one in paired] == [
        (0, False, True),
        (1, False, False),
        (2, True, False),
        (None, True, True),
    ]
    assert pair(were, []) == []


YOLO = {
    "data.yaml": "path: .\ntrain: images/train\nnc: 2\nnames:\n  0: cat\n  1: dog\n",
    "labels/train/a.txt": "0 0.5 0.5 0.25 0.5 0.9\n1 0.1 0.1 0.5 0.1 0.5 0.5\n",
    "labels/train/b.txt": "",
}


def write_yolo(root: Path) -> Path:
    for name, text in YOLO.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "images/train").mkdir(parents=True)
    for number, name in enumerate("abc"):  # c has no file of boxes
        (root / f"images/train/{name}.png").write_bytes(png(colour=number))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("below", ["", "images/train"])
def test_yolo_comes_back_as_it_was(tmp_path: Path, below: str) -> None:
    root = write_yolo(tmp_path / "in")
    assert guess(str(root / below)) is FORMATS["yolo"]
    table = Imported(root / below, tmp_path)
    first, second, third = table.rows
    assert first["label"][0] == {"label": "cat", "x0": 24, "y0": 12, "x1": 40, "y1": 36}
    assert [round(first["label"][1][side], 6) for side in ("x0", "y0", "x1", "y1")] == [
        6.4,
        4.8,
        32,
        24,
    ]
    assert second["label"] == third["label"] == []
    table.shuffle()
    assert contents(table.export("out")) == contents(root)


def test_decided_boxes_of_yolo_change_their_lines_alone(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "in")
    table = Imported(root, tmp_path)
    table.decide(
        DETECTION,
        0,
        write_boxes([Box("dog", 24, 12, 40, 36), Box("dog", 6.4, 4.8, 32, 24)]),
    )
    table.decide(DETECTION, 2, write_boxes([Box("cow", 0, 0, 32, 24)]))
    out = contents(table.export("out"))
    expected = contents(root) | {
        "labels/train/a.txt": b"1 0.5 0.5 0.25 0.5 0.9\n1 0.1 0.1 0.5 0.1 0.5 0.5\n",
        "labels/train/c.txt": b"2 0.250000 0.250000 0.500000 0.500000\n",
    }
    names = out.pop("data.yaml").decode()
    assert expected.pop("data.yaml")
    assert out == expected
    assert "nc: 3" in names
    assert "2: cow" in names


def test_what_is_not_yolo_is_refused(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "in")
    (root / "labels/train/a.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InvalidInput, match=r"a.txt' has the line '7 .* a class from 0 to 1"):
        Imported(root, tmp_path)
    (root / "labels/train/a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    (root / "images/train/a.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInput, match="is not a readable picture"):
        Imported(root, tmp_path)
    (root / "images/val").mkdir()
    (root / "images/val/d.png").write_bytes(png())
    with pytest.raises(InvalidInput, match=r"holds the splits train, val; .*images/train"):
        Imported(root, tmp_path)


VOC = """<?xml version="1.0"?>
<annotation>
\t<!-- a remark -->
\t<folder>VOC2012</folder>
\t<filename>a.png</filename>
\t<size><width>64</width><height>48</height><depth>1</depth></size>
\t<object>
\t\t<name>cat</name><pose>Left</pose><difficult>1</difficult>
\t\t<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
\t\t<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>
\t</object>
\t<object>
\t\t<name>dog</name>
\t\t<bndbox><xmax>60.5</xmax><xmin>40</xmin><ymin>6</ymin><ymax>30</ymax></bndbox>
\t</object>
\t<object><name>spot</name><point><x>1</x><y>2</y></point></object>
</annotation>
"""


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "Annotations").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (root / "Annotations/a.xml").write_text(VOC)
    (root / "JPEGImages/a.png").write_bytes(png())
    return root


def test_voc_comes_back_as_it_was(voc: Path, tmp_path: Path) -> None:
    assert guess(str(voc)) is FORMATS["voc"]
    table = Imported(voc, tmp_path)
    [row] = table.rows
    assert row["label"] == [
        {"label": "cat", "x0": 5, "y0": 6, "x1": 20, "y1": 30},
        {"label": "dog", "x0": 40, "y0": 6, "x1": 60.5, "y1": 30},
    ]
    assert contents(table.export("out")) == contents(voc)


def test_voc_in_one_folder_comes_back_as_it_was(voc: Path, tmp_path: Path) -> None:
    for path in list(voc.rglob("a.*")):
        path.rename(voc / path.name)
    assert contents(Imported(voc, tmp_path).export("out")) == contents(voc)


def test_no_file_is_written_beside_the_folder(voc: Path, tmp_path: Path) -> None:
    table = Imported(voc, tmp_path)
    rows = DeltaTable(table.uri).to_pyarrow_table()
    [row] = rows.to_pylist()
    row["image"]["path"] = "../evil.png"
    write_deltalake(table.uri, pa.Table.from_pylist([row], schema=rows.schema), mode="overwrite")
    with pytest.raises(InvalidInput, match=r"'../evil.png', which is not below"):
        table.export("out")
    assert not (tmp_path / "evil.png").exists()


def test_decided_boxes_of_voc_change_those_objects_alone(voc: Path, tmp_path: Path) -> None:
    table = Imported(voc, tmp_path)
    table.decide(
        DETECTION, 0, write_boxes([Box("lion", 5, 6, 20, 30), Box("dog", 41, 6, 60.5, 30)])
    )
    written = contents(table.export("out"))["Annotations/a.xml"].decode()
    expected = VOC.replace("cat", "lion").replace("<xmin>40<", "<xmin>41<")
    assert written.split("?>\n")[1].strip() == expected.split("?>\n")[1].strip()
    table.decide(DETECTION, 0, write_boxes([Box("bird", 30, 30, 35, 35)]))
    added = contents(table.export("again"))["Annotations/a.xml"].decode()
    assert added.count("<object>") == 2
    assert "<name>bird</name>" in added
    assert "<name>spot</name>" in added


def test_what_is_not_voc_is_refused(voc: Path, tmp_path: Path) -> None:
    (voc / "Annotations/a.xml").write_text(VOC.replace("<xmin>5<", "<xmin>x<"))
    with pytest.raises(InvalidInput, match=r"has a bndbox of \['x', '6'"):
        Imported(voc, tmp_path)
    (voc / "Annotations/a.xml").write_text(VOC[:-20])
    with pytest.raises(InvalidInput, match=r"a.xml' is not XML"):
        Imported(voc, tmp_path, "--format", "voc")


@pytest.mark.parametrize("format_name", ["coco", "yolo", "voc"])
def test_boxes_go_from_one_format_to_another(coco: Path, tmp_path: Path, format_name: str) -> None:
    (coco.parent / "empty.png").write_bytes(png())
    table = Imported(coco, tmp_path)
    out = table.export("out.json" if format_name == "coco" else "out", "--format", format_name)
    again = Imported(out, tmp_path / "again", "--format", format_name)
    boxes = {Path(row["file_name"]).name: row["label"] for row in again.rows}
    for row in table.rows:
        found = boxes[Path(row["file_name"]).name]
        assert [box["label"] for box in found] == [box["label"] for box in row["label"]]
        for left, right in zip(found, row["label"], strict=True):
            assert left["x1"] == pytest.approx(right["x1"], abs=0.01)
