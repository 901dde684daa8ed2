"""Parquet comes in, plain or with the datasets library's features, and goes back as it was."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel_service.errors import AlreadyExists, InvalidInput
from relabel_service.tables.formats import FORMATS, guess
from relabel_service.tables.formats.store import StoredTable
from relabel_service.tasks.boxes import Box, write_boxes
from tests.support.handmade_delta import write_table
from tests.support.imported import Imported, relabel

# As datasets 4 writes them, and 2 and 3 (Sequence) beside.
FEATURES: dict[str, Any] = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
    "tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "ner_tags": {
        "feature": {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"},
        "_type": "Sequence",
    },
    "image": {"_type": "Image"},
    "objects": {
        "feature": {
            "id": {"dtype": "int64", "_type": "Value"},
            "area": {"dtype": "int64", "_type": "Value"},
            "bbox": {
                "feature": {"dtype": "float32", "_type": "Value"},
                "length": 4,
                "_type": "Sequence",
            },
            "category": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        },
        "_type": "Sequence",
    },
}
OBJECTS = pa.struct(
    [
        ("id", pa.list_(pa.int64())),
        ("area", pa.list_(pa.int64())),
        ("bbox", pa.list_(pa.list_(pa.float32(), 4))),
        ("category", pa.list_(pa.int64())),
    ]
)
SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("label", pa.int64()),
        ("tokens", pa.list_(pa.string())),
        ("ner_tags", pa.list_(pa.int64())),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("objects", OBJECTS),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)
ROWS: list[dict[str, Any]] = [
    {
        "text": "a",
        "label": 1,
        "tokens": ["Ann", "B", "x"],
        "ner_tags": [1, 2, 0],
        "image": {"bytes": b"1", "path": "1.png"},
        "objects": {
            "id": [5, 6],
            "area": [99, 7],
            "bbox": [[0.1, 0.2, 10.3, 10.4], [20, 20, 5, 5]],
            "category": [1, 0],
        },
    },
    {
        "text": "b",
        "label": -1,
        "tokens": [],
        "ner_tags": [],
        "image": {"bytes": None, "path": "2.png"},
        "objects": {"id": [], "area": [], "bbox": [], "category": []},
    },
    {"text": None, "label": 0, "tokens": None, "ner_tags": None, "image": None, "objects": None},
]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS, schema=SCHEMA), path)
    return path


def test_features_are_read_by_what_they_mean(hub: Path, tmp_path: Path) -> None:
    assert guess(str(hub)) is FORMATS["huggingface"]
    first, second, third = Imported(hub, tmp_path).rows
    assert [row["label"] for row in (first, second, third)] == ["pos", None, "neg"]
    assert first["ner_tags"] == ["B-PER", "I-PER", "O"]
    assert second["ner_tags"] == []
    assert third["ner_tags"] is None
    assert first["objects"][1] == {"label": "cat", "x0": 20, "y0": 20, "x1": 25, "y1": 25}
    assert first["image"] == {"bytes": b"1", "path": "1.png"}


def test_features_come_back_as_they_were(hub: Path, tmp_path: Path) -> None:
    table = Imported(hub, tmp_path)
    table.shuffle()
    back = pq.read_table(table.export("back.parquet"))
    assert back.schema.equals(SCHEMA, check_metadata=False)
    assert back.to_pylist() == pq.read_table(hub).to_pylist()
    assert json.loads(back.schema.metadata[b"huggingface"]) == {"info": {"features": FEATURES}}


def test_decided_labels_change_those_labels_alone(hub: Path, tmp_path: Path) -> None:
    table = Imported(hub, tmp_path)
    table.decide("text_classification", 0, "mixed")
    table.decide("token_classification", 0, '[[0,1,"PER"]]', column="ner_tags")
    boxes = [Box("cat", 20, 20, 25, 25), Box("cow", 0.1, 0.2, 10.4, 10.6), Box("dog", 1, 40, 3, 44)]
    table.decide("object_detection", 0, write_boxes(boxes), column="objects")
    back = pq.read_table(table.export("back.parquet"))
    first, *others = back.to_pylist()
    assert others == pq.read_table(hub).to_pylist()[1:]
    assert first["label"] == 2
    assert first["ner_tags"] == [1, 0, 0]
    was = pq.read_table(hub)["objects"][0].as_py()
    assert first["objects"] == {
        "id": [5, 6, None],
        "area": [99, 7, 8],
        "bbox": [*was["bbox"], [1, 40, 2, 4]],
        "category": [2, 0, 1],
    }
    told = json.loads(back.schema.metadata[b"huggingface"])["info"]["features"]
    assert told["label"]["names"] == ["neg", "pos", "mixed"]
    assert told["objects"]["feature"]["category"]["names"] == ["cat", "dog", "cow"]
    assert told["ner_tags"] == FEATURES["ner_tags"]


def test_boxes_as_a_list_of_dicts_and_as_corners(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("bbox", pa.list_(pa.float64())), ("category", pa.string())]))
    rows = [[{"bbox": [1.0, 2.0, 3.0, 5.0], "category": "x"}], []]
    path = tmp_path / "a.parquet"
    features = {
        "objects": {
            "feature": {
                "bbox": {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "List"},
                "category": {"dtype": "string", "_type": "Value"},
            },
            "_type": "List",
        }
    }
    schema = pa.schema(
        [("objects", kind)],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    pq.write_table(pa.table({"objects": pa.array(rows, kind)}, schema=schema), path)
    table = Imported(path, tmp_path, "--boxes", "xyxy")
    assert table.rows[0]["objects"] == [{"label": "x", "x0": 1, "y0": 2, "x1": 3, "y1": 5}]
    table.decide("object_detection", 1, write_boxes([Box("y", 1, 1, 2, 3)]), column="objects")
    back = pq.read_table(table.export("b.parquet"))["objects"].to_pylist()
    assert back == [rows[0], [{"bbox": [1, 1, 2, 3], "category": "y"}]]


def test_a_class_number_beyond_the_names_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**ROWS[0], "label": 7}], schema=SCHEMA)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match="holds 7, and its features name 2 classes"):
        Imported(tmp_path / "a.parquet", tmp_path)


def test_tags_of_word_pieces_are_refused_as_that(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**ROWS[0], "ner_tags": [-100, 1, -100]}], schema=SCHEMA)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match=r"holds -100.* import it as it was before"):
        Imported(tmp_path / "a.parquet", tmp_path)


def test_names_of_classes_that_could_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    label = {"names": ["x", "y", "x"], "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": label}}})}
    table = pa.table({"label": [0, 2]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match="name the class 'x' twice"):
        Imported(tmp_path / "a.parquet", tmp_path)


@pytest.mark.parametrize(("category", "refused"), [(-1, False), (None, False), (2, True)])
def test_a_box_of_no_class_is_no_box_of_the_last_one(
    category: int | None, refused: bool, tmp_path: Path
) -> None:
    number = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "List"}
    names = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    features = {"objects": {"bbox": {"feature": number}, "category": {"feature": names}}}
    boxes = {"bbox": [[1.0, 1.0, 5.0, 5.0], [9.0, 9.0, 5.0, 5.0]], "category": [0, category]}
    table = pa.Table.from_pylist([{"objects": boxes}]).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    if refused:
        with pytest.raises(InvalidInput, match="holds 2, and its features name 2 classes"):
            Imported(tmp_path / "a.parquet", tmp_path)
        return
    imported = Imported(tmp_path / "a.parquet", tmp_path)
    assert [box["label"] for box in imported.rows[0]["objects"]] == ["cat", ""]
    assert pq.read_table(imported.export("b.parquet")).equals(table)
    decided = [Box("dog", 9, 9, 14, 14), Box("cat", 1, 1, 6, 6)]
    imported.decide("object_detection", 0, write_boxes(decided), column="objects")
    [back] = pq.read_table(imported.export("c.parquet"))["objects"].to_pylist()
    assert back == boxes | {"category": [0, 1]}


def test_plain_parquet_comes_back_with_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "u": pa.array([200, None], pa.uint8()),
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "l": pa.array([["x"], None], pa.large_list(pa.large_string())),
            "f": pa.array([[1, 2], [3, 4]], pa.list_(pa.float16(), 2)),
            "t": pa.array([1, None], pa.time64("us")),
            "n": pa.array([None, None]),
            "b": pa.array([b"12", b"34"], pa.binary(2)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    imported = Imported(tmp_path / "a.parquet", tmp_path)
    assert imported.rows[0]["u"] == 200
    assert pq.read_table(imported.export("b.parquet")).equals(table)


def test_a_folder_of_parquet_comes_back_as_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    names = ["a.parquet", "b.parquet", "more/c.parquet"]
    for number, name in enumerate(names):
        pq.write_table(pa.table({"x": pa.array([number] * number, pa.int64())}), folder / name)
    (folder / "README.md").write_text("about")
    table = Imported(folder, tmp_path)
    assert "3 rows of parquet" in table.output
    table.shuffle()
    out = table.export("out")
    assert [pq.read_table(out / name)["x"].to_pylist() for name in names] == [[], [1], [2, 2]]


def test_splits_and_differing_files_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "hub/data"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        pq.write_table(pa.table({"x": [split]}), folder / f"{split}-00000-of-00001.parquet")
    with pytest.raises(InvalidInput, match=r"holds the splits test, train; import one .*train-\*"):
        Imported(folder.parent, tmp_path)
    table = Imported(folder / "train-*.parquet", tmp_path)
    assert [row["x"] for row in table.rows] == ["train"]
    pq.write_table(pa.table({"x": [1]}), folder / "train-2.parquet")
    with pytest.raises(InvalidInput, match=r"train-2.parquet.*differ in x"):
        relabel("import", folder / "train-*.parquet", tmp_path / "other")


def test_the_target_may_be_parquet(hub: Path, tmp_path: Path) -> None:
    relabel("import", hub, tmp_path / "t.parquet")
    relabel("export", tmp_path / "t.parquet", tmp_path / "back.parquet")
    assert pq.read_table(tmp_path / "back.parquet").equals(pq.read_table(hub))


def test_features_as_a_dict_of_lists(hub: Path, tmp_path: Path) -> None:
    """As datasets 4 and later write what was a Sequence of a dict."""
    inner = FEATURES["objects"]["feature"]
    features = {
        **FEATURES,
        "objects": {name: {"feature": one, "_type": "List"} for name, one in inner.items()},
    }
    told = json.dumps({"info": {"features": features}})
    table = pq.read_table(hub).replace_schema_metadata({"huggingface": told})
    pq.write_table(table, tmp_path / "dict.parquet")
    imported = Imported(tmp_path / "dict.parquet", tmp_path)
    imported.decide("object_detection", 1, write_boxes([Box("cow", 1, 1, 2, 3)]), column="objects")
    back = pq.read_table(imported.export("back.parquet"))
    assert back["objects"][0] == table["objects"][0]
    assert back["objects"][1].as_py()["category"] == [2]
    names = json.loads(back.schema.metadata[b"huggingface"])["info"]["features"]["objects"]
    assert names["category"]["feature"]["names"] == ["cat", "dog", "cow"]


def test_addresses_of_the_hub_are_read(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "store/datasets/ann/set/data"
    stored.mkdir(parents=True)
    hub.rename(stored / "train-00000-of-00001.parquet")
    local = fsspec.filesystem("dir", path=str(tmp_path / "store"), target_protocol="file")
    monkeypatch.setattr("huggingface_hub.HfFileSystem", lambda: local)
    address = "hf://datasets/ann/set"
    relabel("import", address, tmp_path / "a.parquet")
    relabel("import", f"{address}/data/train-*.parquet", tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 3
    assert pq.read_table(tmp_path / "b.parquet").num_rows == 3


def test_a_decided_table_is_pushed_to_the_hub(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store/datasets/ann/set@relabelled/data").mkdir(parents=True)
    store = fsspec.filesystem("dir", path=str(tmp_path / "store"), target_protocol="file")
    monkeypatch.setattr("huggingface_hub.HfFileSystem", lambda: store)
    imported = Imported(hub, tmp_path)
    address = "hf://datasets/ann/set@relabelled/data/train.parquet"
    relabel("export", imported.uri, address)
    pushed = tmp_path / "store/datasets/ann/set@relabelled/data/train.parquet"
    assert pq.read_table(pushed).equals(pq.read_table(hub))
    with pytest.raises(AlreadyExists, match="exists already"):
        relabel("export", imported.uri, address)


def test_a_hub_that_cannot_be_reached_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInput, match=r"'hf://datasets/a/b' cannot be read \(.*check the add"):
        relabel("import", "hf://datasets/a/b", tmp_path / "t")


def test_tables_with_mapped_columns_and_deletion_vectors_are_exported_as_they_are(
    tmp_path: Path,
) -> None:
    rows = pa.table({"text": ["one", "two", "three"], "label": ["a", "b", "c"]})
    uri = write_table(
        tmp_path / "table",
        rows,
        features=["deletionVectors", "columnMapping"],
        physical={"text": "label", "label": "text"},
        deleted={0: [1]},
    )
    stored = StoredTable(uri)
    assert stored.schema.names == ["text", "label"]
    found = pa.Table.from_batches(stored.batches(), stored.schema)
    assert found.to_pylist() == [rows.to_pylist()[0], rows.to_pylist()[2]]


def test_a_folder_of_differing_files_and_others_is_exported_as_jobs_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "rows" / "split=train"
    folder.mkdir(parents=True)
    (tmp_path / "rows" / "README.md").write_text("about")
    pq.write_table(pa.table({"text": ["one"]}), folder / "a.parquet")
    pq.write_table(pa.table({"text": ["two"], "label": ["x"]}), folder / "b.parquet")
    stored = StoredTable(str(tmp_path / "rows"))
    assert pa.Table.from_batches(stored.batches(), stored.schema).to_pylist() == [
        {"text": "one", "label": None, "split": "train"},
        {"text": "two", "label": "x", "split": "train"},
    ]
