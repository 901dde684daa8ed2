"""Tables and folders as other programs have them: what is exported there, and what comes from it.

That real programs read them was seen with datumaro 1.13.12 (which CVAT's formats were built upon),
pycocotools 2.0.11, Ultralytics 8.4.190 (its check of data.yaml and labels) and spaCy 3.8.18.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from PIL import Image

from relabel_service.errors import InvalidInput
from relabel_service.tables.formats import guess
from relabel_service.tasks.boxes import Box, write_boxes
from tests.support.imported import Imported, relabel

DETECTION = "object_detection"


def png(colour: int = 128) -> bytes:
    data = io.BytesIO()
    Image.new("L", (64, 48), colour).save(data, "PNG")
    return data.getvalue()


def box(name: str, x: float = 8, y: float = 12) -> dict[str, Any]:
    return {"label": name, "x0": x, "y0": y, "x1": x + 16, "y1": y + 24}


def rows(*labels: list[dict[str, Any]], **columns: list[Any]) -> pa.Table:
    """Pictures with boxes and an id each, in a table that no import made."""
    ids = [f"scene {number}/a" for number in range(len(labels))]
    pictures = [png(number) for number in range(len(labels))]
    return pa.table({"id": ids, "image": pictures, "label": list(labels)} | columns)


def exported(table: pa.Table, folder: Path, format_name: str, name: str = "out") -> Path:
    pq.write_table(table, folder / "table.parquet")
    relabel("export", folder / "table.parquet", folder / name, "--format", format_name)
    return folder / name


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path, contents: Mapping[str, str | bytes]) -> Path:
    """Files by their paths."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def without_row(table: Imported, number: int) -> None:
    DeltaTable(table.uri).delete(f"row_number = {number}")


def with_row(table: Imported, **values: Any) -> None:
    """Add a row that the file did not have."""
    schema = table.schema
    row = dict.fromkeys(schema.names) | values
    write_deltalake(table.uri, pa.Table.from_pylist([row], schema=schema), mode="append")


def test_yolo_has_names_numbers_and_files_that_others_read(tmp_path: Path) -> None:
    out = exported(rows([box("1"), box("0", 30)], [box("cat")], []), tmp_path, "yolo")
    written = tree(out)
    assert written.pop("data.yaml").decode() == (
        "train: images/train\n"
        "val: images/train  # name pictures to validate on\n"
        'nc: 3\nnames:\n  0: "0"\n  1: "1"\n  2: "cat"\n'
    )
    assert written["labels/train/scene 0%2Fa.txt"].decode().splitlines() == [
        "1 0.250000 0.500000 0.250000 0.500000",
        "0 0.593750 0.500000 0.250000 0.500000",
    ]
    assert written["images/train/scene 2%2Fa.png"] == png(2)
    assert sorted(path.rpartition("/")[0] for path in written) == (
        ["images/train"] * 3 + ["labels/train"] * 2
    )
    again = Imported(out, tmp_path)
    assert [[one["label"] for one in row["label"]] for row in again.rows] == [
        ["1", "0"],
        ["cat"],
        [],
    ]


@pytest.mark.parametrize("format_name", ["yolo", "coco"])
def test_a_classs_number_does_not_depend_on_the_rows_order(
    tmp_path: Path, format_name: str
) -> None:
    labels = [[box("10")], [box("9")], [box("dog"), box("cat")]]
    told = []
    for number, some in enumerate((labels, labels[::-1])):
        out = exported(rows(*some), tmp_path, format_name, f"out-{number}")
        found = "data.yaml" if format_name == "yolo" else "annotations/instances_default.json"
        text = (out / found).read_text()
        told.append(text if format_name == "yolo" else json.loads(text)["categories"])
    assert told[0] == told[1]
    assert [one in str(told[0]) for one in ("'name': '9'", '0: "9"')].count(True) == 1


@pytest.mark.parametrize("format_name", ["yolo", "voc"])
def test_pictures_of_one_name_are_all_written(tmp_path: Path, format_name: str) -> None:
    table = rows(
        [box("cat")], [box("dog")], [box("cow")], file_name=["a/x.png", "b/x.png", "c/X.jpg"]
    )
    out = exported(table, tmp_path, format_name)
    again = Imported(out, tmp_path).rows
    assert sorted((row["label"][0]["label"], row["image"]["bytes"]) for row in again) == [
        ("cat", png(0)),
        ("cow", png(2)),
        ("dog", png(1)),
    ]


DARKNET: dict[str, str | bytes] = {
    "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
    "obj.names": "cat\ndog\n",
    "train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/sub/b.png\n",
    "obj_train_data/a.png": png(1),
    "obj_train_data/a.txt": "0 0.5 0.5 0.25 0.5\n",
    "obj_train_data/sub/b.png": png(2),
    "obj_train_data/sub/b.txt": "",
}


def test_darknets_lists_come_back_and_follow_the_rows(tmp_path: Path) -> None:
    root = write(tmp_path / "in", DARKNET)
    table = Imported(root, tmp_path)
    assert tree(table.export("same")) == tree(root)
    table.decide(DETECTION, 0, write_boxes([Box("cow", 24, 12, 40, 36)]))
    without_row(table, 1)
    out = tree(table.export("changed"))
    assert out["obj.names"] == b"cat\ndog\ncow\n"
    assert out["obj.data"].startswith(b"classes = 3\ntrain = data/train.txt\n")
    assert out["train.txt"] == b"data/obj_train_data/a.png\n"
    assert not any("sub" in name for name in out)


def test_a_row_that_yolo_did_not_have_takes_no_other_rows_files(tmp_path: Path) -> None:
    table = Imported(write(tmp_path / "in", DARKNET), tmp_path)
    with_row(table, file_name="b.png", label=[box("dog")], image={"bytes": png(9), "path": None})
    out = tree(table.export("out"))
    assert out["obj_train_data/sub/b.png"] == png(2)
    assert out["obj_train_data/sub/b~1.png"] == png(9)
    assert out["obj_train_data/sub/b~1.txt"].startswith(b"1 ")


def test_boxes_that_a_folder_of_yolo_cannot_tell_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"a.png": png(), "a.txt": "3 0.5 0.5 0.25 0.5\n"})
    table = Imported(root, tmp_path)
    table.decide(DETECTION, 0, write_boxes([Box("4", 24, 12, 40, 36)]))
    assert tree(table.export("numbers"))["a.txt"] == b"4 0.5 0.5 0.25 0.5\n"
    table.decide(DETECTION, 0, write_boxes([Box("cat", 24, 12, 40, 36)]))
    with pytest.raises(InvalidInput, match=r"class 'cat', .* numbers alone; add classes.txt"):
        table.export("named")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "table", "numbers"}
    write(root, {"a.jpg": png()})
    with pytest.raises(InvalidInput, match=r"'a.jpg' and 'a.png', whose boxes .* 'a.txt'; rename"):
        Imported(root, tmp_path / "again")


def voc_xml(file_name: str, name: str = "cat") -> str:
    return (
        f"<annotation><filename>{file_name}</filename><object><name>{name}</name><bndbox>"
        "<xmin>8</xmin><ymin>12</ymin><xmax>24</xmax><ymax>36</ymax></bndbox></object></annotation>"
    )


VOC: dict[str, str | bytes] = {
    "Annotations/a.xml": voc_xml("a.png"),
    "Annotations/sub/b.xml": voc_xml("sub/b.png"),
    "JPEGImages/a.png": png(1),
    "JPEGImages/b.png": png(2),  # of no XML file, and in no list: no picture of the set
    "JPEGImages/sub/b.png": png(3),
    "JPEGImages/empty.png": png(4),
    "ImageSets/Main/train.txt": "a\nsub/b\nempty\ngone\n",
    "ImageSets/Main/cat_train.txt": "a  1\nsub/b  1\nempty -1\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:::\n",
}


def test_lists_and_the_label_map_of_voc_come_back(tmp_path: Path) -> None:
    root = write(tmp_path / "in", VOC)
    table = Imported(root, tmp_path)
    assert [(row["file_name"], row["image"]["bytes"], len(row["label"])) for row in table.rows] == [
        ("a.png", png(1), 1),
        ("sub/b.png", png(3), 1),
        ("empty.png", png(4), 0),
    ]
    expected = tree(root)
    for left_out in ("ImageSets/Main/cat_train.txt", "JPEGImages/b.png"):
        del expected[left_out]
    expected["ImageSets/Main/train.txt"] = b"a\nsub/b\nempty\n"
    assert tree(table.export("same")) == expected
    table.decide(DETECTION, 2, write_boxes([Box("cow", 8, 12, 24, 36)]))
    without_row(table, 0)
    out = tree(table.export("changed"))
    assert out["ImageSets/Main/train.txt"] == b"sub/b\nempty\n"
    assert out["labelmap.txt"].endswith(b"cat:::\ncow:::\n")
    new = ElementTree.fromstring(out["Annotations/empty.xml"])
    assert [new.findtext(name) for name in ("filename", "object/name", "size/width")] == [
        "empty.png",
        "cow",
        "64",
    ]


def test_voc_of_a_table_lists_its_pictures_and_classes(tmp_path: Path) -> None:
    out = tree(exported(rows([box("dog")], [box("7")]), tmp_path, "voc"))
    assert out["ImageSets/Main/train.txt"] == b"scene 0%2Fa\nscene 1%2Fa\n"
    assert out["labelmap.txt"] == b"# label:color_rgb:parts:actions\ndog:::\n7:::\n"
    assert out["JPEGImages/scene 1%2Fa.png"] == png(1)


def test_a_picture_is_the_one_beside_its_xml_file(tmp_path: Path) -> None:
    root = write(
        tmp_path / "in",
        {
            "one/a.xml": voc_xml("a.png"),
            "one/a.png": png(1),
            "two/a.xml": voc_xml("a.png", "dog"),
            "two/a.png": png(2),
        },
    )
    found = {
        row["label"][0]["label"]: row["image"]["bytes"] for row in Imported(root, tmp_path).rows
    }
    assert found == {"cat": png(1), "dog": png(2)}
    write(root, {"three/a.xml": voc_xml("a.png")})
    with pytest.raises(
        InvalidInput, match=r"'three/a.xml' .* may be '(one|two)/a.png' or .*rename"
    ):
        Imported(root, tmp_path / "again")


def test_cvats_own_xml_is_not_taken_for_voc(tmp_path: Path) -> None:
    text = '<?xml version="1.0"?><annotations><image id="0" name="a.png"/></annotations>'
    root = write(tmp_path / "in", {"annotations.xml": text, "images/a.png": png()})
    with pytest.raises(InvalidInput, match=r"looks like none of .*; say which it is by --format"):
        guess(str(root))


def test_coco_is_written_with_its_pictures_where_the_path_is_a_folder(tmp_path: Path) -> None:
    out = exported(rows([box("dog")], [box("cat")]), tmp_path, "coco")
    told = json.loads((out / "annotations/instances_default.json").read_text())
    assert [(one["id"], one["file_name"]) for one in told["images"]] == [
        (1, "scene 0%2Fa.png"),
        (2, "scene 1%2Fa.png"),
    ]
    assert (out / "images/default/scene 1%2Fa.png").read_bytes() == png(1)
    again = Imported(out / "annotations/instances_default.json", tmp_path)
    assert [row["image"]["bytes"] for row in again.rows] == [png(0), png(1)]
    with pytest.raises(InvalidInput, match=r"names the file 'a.png' in two rows; rename one"):
        exported(rows([], [], file_name=["a.png", "a.png"]), tmp_path, "coco", "twice")
    assert not (tmp_path / "twice").exists()


def test_images_that_coco_did_not_have_get_ids_of_their_own(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in (4, 2)]
    source = {"images": images, "annotations": [], "categories": []}
    (tmp_path / "in.json").write_text(json.dumps(source))
    table = Imported(tmp_path / "in.json", tmp_path)
    for own_id in (None, 2, 7):
        with_row(table, id=own_id, file_name=f"new-{own_id}.png", label=[box("cat")])
    back = json.loads(table.export("out.json").read_text())
    ids = {one["file_name"]: one["id"] for one in back["images"]}
    assert len(set(ids.values())) == 5
    assert (ids["4.png"], ids["2.png"], ids["new-7.png"]) == (4, 2, 7)
    assert {one["image_id"] for one in back["annotations"]} == {
        number for name, number in ids.items() if name.startswith("new")
    }


def test_an_export_of_several_files_is_whole_or_not_there(tmp_path: Path) -> None:
    """The second of two parquet files cannot be written: its column does not fit its type."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        pq.write_table(
            pa.table({"x": pa.array([1, 2], pa.int8())}), tmp_path / f"in/{name}.parquet"
        )
    table = Imported(tmp_path / "in", tmp_path)
    held = DeltaTable(table.uri).to_pyarrow_table()
    wide = held.set_column(0, pa.field("x", pa.int64()), pa.array([1, 2, 3, 400]))
    write_deltalake(table.uri, wide, mode="overwrite", schema_mode="overwrite")
    with pytest.raises(InvalidInput, match="cannot be held as int8"):
        table.export("out")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "table"}


def test_tokens_with_spaces_come_back_from_conll(tmp_path: Path) -> None:
    tokens = [["New York", "is", "#"], ["\u3000", "x"]]
    table = pa.table({"tokens": tokens, "label": [["B-LOC", "O", "O"], ["O", "B-PER"]]})
    out = exported(table, tmp_path, "conll")
    assert out.read_text() == "New York\tB-LOC\nis\tO\n#\tO\n\n\u3000\tO\nx\tB-PER\n"
    again = Imported(out, tmp_path, "--format", "conll").rows
    assert [row["tokens"] for row in again] == tokens


@pytest.mark.parametrize("token", ["", "a\tb", "a\nb", "-DOCSTART-"])
def test_a_token_that_no_line_of_conll_holds_is_refused(tmp_path: Path, token: str) -> None:
    table = pa.table({"tokens": [["a", token]], "label": [["O", "O"]]})
    with pytest.raises(InvalidInput, match=r"holds the token .*; drop the row, or choose another"):
        exported(table, tmp_path, "conll")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_name", ["coco", "yolo", "voc", "conll"])
def test_rows_without_a_label_are_not_written_as_rows_of_nothing(
    tmp_path: Path, format_name: str
) -> None:
    table = rows([box("cat")], [box("dog")], label=[[box("cat")], None])
    if format_name == "conll":
        table = pa.table({"tokens": [["a"], ["b"]], "label": [["O"], None]})
    with pytest.raises(InvalidInput, match=r"rows whose label is null, .* label them, drop them"):
        exported(table, tmp_path, format_name)
    assert {path.name for path in tmp_path.iterdir()} == {"table.parquet"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_columns_that_are_named_as_imports_name_theirs_come_back(
    tmp_path: Path, suffix: str
) -> None:
    columns = {"row_number": [5, 6], "original": ["o", "p"], "label": ["x", "y"]}
    source = tmp_path / f"in.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(columns), source)
    elif suffix == "csv":
        source.write_text("row_number,original,label\n5,o,x\n6,p,y\n")
    else:
        lines = [
            dict(zip(columns, some, strict=True)) for some in zip(*columns.values(), strict=True)
        ]
        source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    out = Imported(source, tmp_path).export(f"out.{suffix}")
    if suffix == "parquet":
        assert pq.read_table(out).to_pydict() == columns
    else:
        assert out.read_text() == source.read_text()


def coco(tmp_path: Path, **changes: Any) -> Path:
    images = [{"id": 1, "file_name": "a.png"}]
    source = {"images": images, "annotations": [], "categories": []} | changes
    (tmp_path / "in.json").write_text(json.dumps(source))
    return tmp_path / "in.json"


@pytest.mark.parametrize(
    "category", [{"id": [1], "name": "cat"}, {"id": 1, "name": 7}, {"id": None, "name": "cat"}, 3]
)
def test_a_category_of_coco_that_is_none_is_refused(tmp_path: Path, category: Any) -> None:
    with pytest.raises(InvalidInput, match="COCO's categories have an id and a name, a text"):
        Imported(coco(tmp_path, categories=[category]), tmp_path)


@pytest.mark.parametrize("ids", [[1.5, 2], [2**70, 1], [1, "b"], [None, 4]])
def test_ids_of_coco_that_are_not_whole_numbers_become_texts(
    tmp_path: Path, ids: list[Any]
) -> None:
    images = [{"id": own_id, "file_name": f"{n}.png"} for n, own_id in enumerate(ids)]
    source = coco(tmp_path, images=images, categories=None)
    table = Imported(source, tmp_path)
    as_text = [own_id if isinstance(own_id, str) else json.dumps(own_id) for own_id in ids]
    assert [row["id"] for row in table.rows] == as_text
    back = json.loads(table.export("out.json").read_text())
    assert [one["id"] for one in back["images"]] == ids


@pytest.mark.parametrize("text", ["[" * 5_000 + "]" * 5_000, "1" * 5_000])
def test_json_beyond_what_is_decoded_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.jsonl").write_text(f'{{"a": {text}}}\n')
    with pytest.raises(InvalidInput, match=r"line 1 of .* is not JSON: .*; fix the line"):
        Imported(tmp_path / "in.jsonl", tmp_path)
    (tmp_path / "in.json").write_text(f'{{"images": [], "annotations": [], "info": {text}}}')
    with pytest.raises(InvalidInput, match=r"is not whole JSON: .*; fix the file"):
        Imported(tmp_path / "in.json", tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"0 0.5 0.5 0.1 0.1 \xff\n"),
        ("classes.txt", b"caf\xe9\n"),
        ("train.txt", b"\xe9\n"),
    ],
)
def test_text_of_another_encoding_is_told_with_its_file(
    tmp_path: Path, name: str, content: bytes
) -> None:
    root = write(tmp_path / "in", {"a.png": png(), "a.txt": "0 0.5 0.5 0.1 0.1\n"})
    (root / "classes.txt").write_text("cat\n")
    (root / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"{name}' is not UTF-8 text .*; save it as UTF-8"):
        Imported(root, tmp_path)


def test_a_class_of_yolo_is_the_line_of_its_number(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"a.png": png(), "classes.txt": "\ufeffcat\n\ndog\n\n"})
    (root / "a.txt").write_text("2 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n")
    [row] = Imported(root, tmp_path).rows
    assert [one["label"] for one in row["label"]] == ["dog", "cat"]
    (root / "a.txt").write_text("-1 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InvalidInput, match=r"has the line '-1 .* a class from 0 to 2"):
        Imported(root, tmp_path / "again")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x1": float("nan")}, r"has the box cat \(8, 12, nan, 36\); corners are finite numbers"),
        ({"label": None}, r"boxes are a list of label, x0, y0, x1, y1"),
    ],
)
@pytest.mark.parametrize("format_name", ["coco", "yolo", "voc"])
def test_boxes_that_are_none_are_not_written(
    tmp_path: Path, format_name: str, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        exported(rows([box("cat"), box("cat") | wrong]), tmp_path, format_name)
    assert {path.name for path in tmp_path.iterdir()} == {"table.parquet"}


def test_a_class_that_xml_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has the class 'a\\nb', whose control characters"):
        exported(rows([box("a\nb")]), tmp_path, "voc")


@pytest.mark.parametrize("format_name", ["conll", "spacy"])
@pytest.mark.parametrize(
    ("tokens", "label", "message"),
    [
        (["a b"], ["O O"], r"a column tokens of string; give lists of texts"),
        ([["a", None]], [["O", "O"]], r"(drop the row|fix or drop the row)"),
    ],
)
def test_tokens_that_are_none_are_not_written(
    tmp_path: Path, format_name: str, tokens: list[Any], label: list[Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        exported(pa.table({"tokens": tokens, "label": label}), tmp_path, format_name)


def test_a_sentence_without_tokens_is_refused_by_conll(tmp_path: Path) -> None:
    kind = pa.list_(pa.string())
    empty = pa.table({"tokens": pa.array([["a"], []], kind), "label": pa.array([["O"], []], kind)})
    with pytest.raises(InvalidInput, match="a row without tokens, which CoNLL cannot; drop it"):
        exported(empty, tmp_path, "conll")


@pytest.mark.parametrize("results", [None, {"a": 1}, ["x"], [{"type": "choices"}]])
def test_results_that_label_studio_does_not_write_are_told(tmp_path: Path, results: Any) -> None:
    task = {"id": 1, "data": {"text": "hi"}, "annotations": [{"id": 1, "result": results}]}
    (tmp_path / "in.json").write_text(json.dumps([task]))
    with pytest.raises(InvalidInput, match=r"task 0 of .* has the result .*: export it anew"):
        Imported(tmp_path / "in.json", tmp_path, "--format", "label_studio")


CLASS = {"names": ["cat", "dog"], "_type": "ClassLabel"}
OBJECTS = {"objects": {"bbox": [[{"dtype": "float32", "_type": "Value"}]], "category": [CLASS]}}


def hub(tmp_path: Path, features: Any, **columns: Any) -> Path:
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(told), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.mark.parametrize(
    ("features", "columns", "message"),
    [
        (
            {"label": CLASS},
            {"label": ["cat"]},
            "'label' is of string, and its feature of class num",
        ),
        ([1], {"label": [0]}, "names no features; import it as parquet"),
        (
            OBJECTS,
            {"objects": [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [0, 1]}]},
            "fields of differing numbers, {'bbox': 1, 'category': 2}; fix the row",
        ),
        (
            OBJECTS,
            {"objects": [{"bbox": [[1.0, 2.0, 3.0]], "category": [0]}]},
            r"a box is \[1.0, 2.0, 3.0\]; give four numbers",
        ),
    ],
)
def test_features_that_their_columns_do_not_follow_are_told(
    tmp_path: Path, features: Any, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        Imported(hub(tmp_path, features, **columns), tmp_path)


def test_pictures_of_the_hub_without_any_path_come_back(tmp_path: Path) -> None:
    pictures = [{"bytes": png(1), "path": None}, {"bytes": png(2), "path": None}]
    source = hub(tmp_path, {"image": {"_type": "Image"}}, image=pictures)
    out = Imported(source, tmp_path).export("out.parquet")
    assert pq.read_table(out).equals(pq.read_table(source))
