"""`relabel export --to`: findings and tables as labeling tools read them.

That real tools do read them was seen with Label Studio 1.23.2, FiftyOne 1.22 and datumaro's reader
of CVAT's format; tests/data/label_studio holds what Label Studio made of it.
"""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel_service.cli.formats import TOOL_NAMES
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import delta, schemas
from relabel_service.tables.formats.media import MAX_NAME, file_stem
from relabel_service.tasks import task_named
from relabel_service.tools import TOOLS
from relabel_service.tools.label_studio import UNSHOWN
from relabel_service.tools.label_studio_media import Media
from relabel_service.v1 import items_pb2
from tests.support.campaigns import finding, write_findings
from tests.support.imported import Imported, relabel
from tests.support.page_items import inline, page_items, picture, sound

EXPORTS = Path(__file__).parents[1] / "data/label_studio"
EVERY_TASK = pytest.mark.parametrize("task", page_items())


def export(tmp_path: Path, to: str, task: str, **other: Any) -> Path:
    uri = write_findings(tmp_path, 2, task=task, **page_items()[task] | other)
    relabel("export", uri, tmp_path / "out", "--to", to, "--run-id", "run")
    return tmp_path / "out"


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_the_command_names_every_tool() -> None:
    assert tuple(TOOLS) == TOOL_NAMES


@EVERY_TASK
def test_label_studio_gets_both_views_of_every_task(tmp_path: Path, task: str) -> None:
    out = export(tmp_path, "label-studio", task)
    first, second = load(out / "tasks.json")
    assert [first["data"]["row_id"], second["data"]["row_id"]] == ["row-0", "row-1"]
    human, model = first["predictions"]
    assert (human["model_version"], model["model_version"]) == ("human label", "model")
    assert human["score"] == pytest.approx(1 - 0.9)
    view = ElementTree.fromstring((out / "label_config.xml").read_text())
    shown, control = view
    assert shown.get("value") == "$content"
    named = {choice.get("value") for choice in control}
    for result in (*human["result"], *model["result"]):
        assert result["from_name"] == control.get("name")
        assert (result["to_name"], control.get("toName")) == (shown.get("name"),) * 2
        assert result["type"] == control.tag.lower()
        assert set(result["value"].get(result["type"], ())) <= named


def test_spans_are_code_points(tmp_path: Path) -> None:
    out = export(
        tmp_path,
        "label-studio",
        "token_classification",
        content=json.dumps(["😀", "Ann", "Lee", "left"]),
        human_label='[[1,3,"PER"]]',
        suggestions=[],
    )
    [human] = load(out / "tasks.json")[0]["predictions"]
    [result] = human["result"]
    assert result["value"] == {"start": 2, "end": 9, "text": "Ann Lee", "labels": ["PER"]}


def test_boxes_are_shares_of_the_picture(tmp_path: Path) -> None:
    out = export(tmp_path, "label-studio", "object_detection")
    _, model = load(out / "tasks.json")[0]["predictions"]
    [result] = model["result"]
    assert (result["original_width"], result["original_height"]) == (640, 480)
    sides = {side: result["value"][side] for side in ("x", "y", "width", "height")}
    assert sides == pytest.approx(
        {"x": 15.625, "y": 20.8333, "width": 31.25, "height": 31.25}, 1e-4
    )


def test_cvat_gets_pictures_boxes_and_whose_they_are(tmp_path: Path) -> None:
    out = export(tmp_path, "cvat", "object_detection")
    root = ElementTree.parse(out / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    images = root.findall("image")
    assert [image.attrib["name"] for image in images] == ["row-0.png", "row-1.png"]
    assert (out / "images/row-0.png").read_bytes() == picture()
    boxes = [
        (box.attrib["label"], box.attrib["xtl"], *(one.text for one in box))
        for box in images[0].findall("box")
    ]
    assert boxes == [
        ("bus", "400.00", "human", "0.1000"),
        ("car", "90.00", "human", "0.1000"),
        ("car", "100.00", "model", "0.8000"),
    ]
    labels = load(out / "labels.json")
    assert [label["name"] for label in labels] == ["car", "bus"]
    assert {label["type"] for label in labels} == {"rectangle"}


def test_cvat_gets_classes_as_tags(tmp_path: Path) -> None:
    out = export(tmp_path, "cvat", "image_classification")
    tags = ElementTree.parse(out / "annotations.xml").findall("image/tag")
    assert [tag.attrib["label"] for tag in tags] == ["ham", "spam"] * 2


def test_fiftyone_gets_relative_boxes(tmp_path: Path) -> None:
    out = export(tmp_path, "fiftyone", "object_detection")
    sample, _ = load(out / "samples.json")["samples"]
    assert (out / sample["filepath"]).read_bytes() == picture()
    assert (sample["row_id"], sample["suspicion"], sample["units"]) == ("row-0", 0.9, ["car"])
    [box] = sample["model"]["detections"]
    assert box["bounding_box"] == pytest.approx([100 / 640, 100 / 480, 200 / 640, 150 / 480])
    assert "version" not in load(out / "metadata.json")  # which says which form samples.json has


def test_findings_of_one_row_are_one_picture(tmp_path: Path) -> None:
    uri = write_findings(tmp_path, 2, **page_items()["object_detection"], task="object_detection",
                         id="a/b")  # fmt: skip
    for to in ("cvat", "fiftyone"):
        relabel("export", uri, tmp_path / to, "--to", to, "--run-id", "run")
    [sample] = load(tmp_path / "fiftyone/samples.json")["samples"]
    assert sample["filepath"] == "data/a%2Fb.png"
    assert len(sample["model"]["detections"]) == 2
    assert [path.name for path in (tmp_path / "cvat/images").iterdir()] == ["a%2Fb.png"]


def test_a_table_without_findings_is_handed_over_with_its_labels(tmp_path: Path) -> None:
    rows = {"text": ["good", "", "bad"], "label": ["pos", "neg", "neg"], "key": [7, 8, 9]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    said = relabel("export", tmp_path / "t.parquet", tmp_path / "out", "--to", "label-studio",
                   "--task", "text_classification", "--id-column", "key")  # fmt: skip
    assert "2 items for label-studio\n1 rows are left out" in said
    tasks = load(tmp_path / "out/tasks.json")
    assert [task["data"] for task in tasks] == [
        {"row_id": "7", "content": "good"},
        {"row_id": "9", "content": "bad"},
    ]
    [human] = tasks[0]["predictions"]
    assert "score" not in human
    assert human["result"][0]["value"] == {"choices": ["pos"]}


def test_top_takes_the_worst(tmp_path: Path) -> None:
    uri = write_findings(tmp_path, 3)
    relabel(
        "export", uri, tmp_path / "out", "--to", "label-studio", "--run-id", "run", "--top", "1"
    )
    assert [task["data"]["row_id"] for task in load(tmp_path / "out/tasks.json")] == ["row-0"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "doccano", "--run-id", "run"], "'doccano' is not a tool; use one of label-st"),
        (["--to", "cvat", "--run-id", "run"], "'cvat' labels object_detection, image_classif"),
        (["--to", "cvat", "--format", "coco"], "exclude each other"),
        (["--run-id", "run"], "--to: is not set"),
        (["--to", "label-studio"], "--run-id: is needed where .* is a findings table"),
        (["--to", "label-studio", "--run-id", "run", "--task", "x"], "leave out --task"),
        (
            ["--to", "label-studio", "--task", "text_classification"],
            "has no column 'text', 'label'",
        ),
        (["--to", "label-studio", "--run-id", "other"], "has no run 'other'"),
        (["--to", "label-studio", "--run-id", "run", "--top", "0"], "has no findings"),
    ],
)
def test_what_cannot_be_handed_over_is_refused(
    tmp_path: Path, options: list[str], words: str
) -> None:
    uri = write_findings(tmp_path, 1)
    with pytest.raises((InvalidInput, NotFound), match=words):
        relabel("export", uri, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fields = page_items()["object_detection"] | {"content": inline(b"no picture", "image/png")}
    uri = write_findings(tmp_path, 1, task="object_detection", **fields)
    for to in TOOLS:
        with pytest.raises(InvalidInput, match=r"row 'row-0': is not a readable picture"):
            relabel("export", uri, tmp_path / to, "--to", to, "--run-id", "run")


@pytest.mark.parametrize("to", TOOLS)
def test_an_export_that_failed_leaves_nothing_and_is_done_again(tmp_path: Path, to: str) -> None:
    """The last finding's picture is not there the first time."""
    later, uri = tmp_path / "later.png", str(tmp_path / "findings")
    fields = page_items()["object_detection"]
    found = [finding(0, task="object_detection", **fields)]
    found += [finding(1, task="object_detection", **fields | {"content": str(later)})]
    delta.append_once(uri, pa.Table.from_pylist(found, schemas.FINDINGS), app_id="run")
    options = ("--to", to, "--run-id", "run", "--media-prefix", tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="row 'row-1'"):
        relabel("export", uri, tmp_path / "out", *options)
    assert sorted(tmp_path.iterdir()) == before
    later.write_bytes(picture())
    assert "2 items" in relabel("export", uri, tmp_path / "out", *options)
    assert sorted(tmp_path.iterdir()) == sorted([*before, later, tmp_path / "out"])


def test_predictions_that_do_not_fit_the_content_are_left_out_and_counted(tmp_path: Path) -> None:
    task = "token_classification"
    beyond = [{"label": '[[0,99,"PER"]]', "probability": 0.8}]
    uri = write_findings(tmp_path, 2, task=task, **page_items()[task] | {"suggestions": beyond})
    said = relabel("export", uri, tmp_path / "out", "--to", "label-studio", "--run-id", "run")
    assert f"2 {UNSHOWN}" in said
    for row in load(tmp_path / "out" / "tasks.json"):
        assert [one["model_version"] for one in row["predictions"]] == ["human label"]


def test_a_picture_with_boxes_is_loaded_once_and_a_sound_has_its_type() -> None:
    loaded: list[str] = []

    def load(content: items_pb2.MediaContent) -> bytes:
        loaded.append(content.uri)
        return content.data or picture()

    media = Media(load, lambda uri: uri.startswith("s3://"))
    here, away = (items_pb2.MediaContent(uri=uri) for uri in ("here", "s3://away"))
    shown = media.picture(here, measured=True)
    assert shown["image"].startswith("data:image/png;base64,")
    size = {"width": shown["width"], "height": shown["height"]}
    assert media.picture(away, measured=True) == {"image": "s3://away", **size}
    assert media.picture(away, measured=False) == {"image": "s3://away"}
    assert loaded == ["here", "s3://away"]
    heard = media.sound(items_pb2.MediaContent(data=sound("FLAC")))
    assert heard["audio"].startswith("data:audio/flac;base64,")


def test_ids_become_names_of_files() -> None:
    assert file_stem("a b/c.png") == "a b%2Fc.png"
    assert len(file_stem("é" * 500)) == MAX_NAME
    assert file_stem("") == "row"


@EVERY_TASK
def test_a_real_export_comes_in_and_goes_back_unchanged(tmp_path: Path, task: str) -> None:
    path = EXPORTS / f"{task}.json"
    table = Imported(path, tmp_path)
    table.shuffle()
    assert load(table.export("back.json")) == load(path)


@EVERY_TASK
def test_a_real_export_is_read_as_it_was_annotated(tmp_path: Path, task: str) -> None:
    # As build_label_studio_exports.py annotated: the human label, the model's, and one skipped.
    rows = Imported(EXPORTS / f"{task}.json", tmp_path).rows
    fields = page_items()[task] | {}
    human = fields.get("human_label", "ham")
    model = fields.get("suggestions", [{"label": "spam"}])[0]["label"]
    read = [row["label"] for row in rows]
    if task == "click_through_rate":
        assert read == [human, model, None]
        return
    heavy = task_named(task)
    tokens = json.dumps(rows[0].get("tokens"))
    for label, expected in zip(read[:2], (human, model), strict=True):
        if task == "object_detection":
            names = [box["label"] for box in label]
            assert names == [box["class_name"] for box in json.loads(expected)]
            corners = [box[side] for box in label for side in ("x0", "y0", "x1", "y1")]
            assert corners == pytest.approx(list(heavy.coordinates(expected)), abs=0.01)
        else:
            assert heavy.read_label(label, tokens) == expected
    assert read[2] is None
