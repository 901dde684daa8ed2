"""Object detection: boxes in pixels, class by class, faulty ones named and near the top."""

import io
import shutil
from pathlib import Path
from typing import Any

import cleanlab.object_detection.rank as objectlab
import numpy as np
import pytest
import torch
from deltalake import DeltaTable, write_deltalake
from PIL import Image
from transformers import (
    AutoModelForObjectDetection,
    BertConfig,
    DeformableDetrConfig,
    DeformableDetrImageProcessorPil,
    DetrConfig,
    DetrImageProcessorPil,
    ResNetConfig,
    SwinConfig,
)

from cluster.data.rows import Source, latest
from cluster.models.detection.detections import Detections, score, suppress
from cluster.tasks import box_errors, model_task
from cluster.versions.merge import MergeConfig, merge
from relabel_service.cli.render import content_text
from relabel_service.errors import InvalidInput
from relabel_service.media import images
from relabel_service.tables import delta
from relabel_service.tasks import task_named
from relabel_service.tasks.boxes import Box, read_boxes, write_boxes
from relabel_service.v1 import items_pb2
from tests.data import png, slices
from tests.support import cross_fit as training
from tests.unit.test_majority import results, vote

NAME = "object_detection"
TASK = task_named(NAME)
PICTURE = png.encode(np.zeros((48, 64), np.uint8))
CONTENT = TASK.read_content({"image": PICTURE})


def box(name: str, *corners: float) -> dict[str, Any]:
    return {"label": name, **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))}


CAT, DOG = box("cat", 1.0, 2.0, 30.5, 40.0), box("dog", 0.0, 0.0, 64.0, 48.0)


def test_boxes_come_back_as_they_were_in_any_order() -> None:
    text = TASK.read_label([DOG, CAT], CONTENT)
    assert text == TASK.read_label([CAT, DOG], CONTENT)
    assert TASK.write_label(text, CONTENT) == [CAT, DOG]
    assert TASK.label_from_wire(TASK.label_to_wire(text)) == text
    assert TASK.content_to_wire(CONTENT).image.data == PICTURE
    assert TASK.read_label([], CONTENT) == write_boxes([])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "is NoneType; give a list of boxes"),
        ([{"class": "cat"}], "box 0 has the fields class; it needs label, x0, y0, x1, y1"),
        ([CAT, 7], "box 1 7; it needs"),
        ([box("cat", 5, 5, 5, 9)], "box cat (5, 5, 5, 9) has no area"),
        ([box("cat", 9, 5, 5, 9)], "has no area"),
        ([box("cat", -3, 5, 5, 9)], "begins outside the image"),
        ([box("cat", 3, 5, 66, 9)], "leaves its image of 64x48 pixels"),
        ([box("cat", 3, 5, 9, float("nan"))], "not a finite number"),
        ([box("  ", 3, 5, 9, 9)], "has an empty class"),
        ([box("cat", 3, 5, True, 9)], "has corners"),
    ],
)
def test_a_box_of_no_use_is_told(value: object, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TASK.read_label(value, CONTENT)
    assert told in str(refused.value)


def test_units_are_the_classes_and_replace_their_own_boxes_alone() -> None:
    text = TASK.read_label([CAT, DOG], CONTENT)
    assert TASK.units(("cat", "dog")) == ("cat", "dog")
    assert TASK.classes_in(text) == ["cat", "dog"]
    moved = TASK.read_label([box("cat", 2, 2, 30, 40)], CONTENT)
    merged = TASK.with_unit_label(text, "cat", moved)
    assert TASK.unit_label(merged, "cat") == moved
    assert TASK.unit_label(merged, "dog") == TASK.unit_label(text, "dog")
    assert TASK.with_unit_label(merged, "cat", write_boxes([])) == TASK.unit_label(text, "dog")
    renamed = TASK.read_label([box("dog", 1.0, 2.0, 30.5, 40.0)], CONTENT)
    both = TASK.with_unit_label(text, "cat", renamed)
    assert TASK.classes_in(both) == ["dog"]
    assert len(read_boxes(both)) == 2
    assert TASK.label_fault(text, ("cat",)) is not None


def test_distance_falls_with_overlap() -> None:
    one = TASK.read_label([CAT], CONTENT)
    near = TASK.read_label([box("cat", 2, 2, 30.5, 40)], CONTENT)
    other = TASK.read_label([box("dog", 1, 2, 30.5, 40)], CONTENT)
    assert TASK.distance(one, one) == 0
    assert 0 < TASK.distance(one, near) < 0.1
    assert TASK.distance(one, other) == TASK.distance(one, write_boxes([])) == 1


def test_decisions_about_two_classes_of_an_image_become_one_row(tmp_path: Path) -> None:
    uri, results_uri = str(tmp_path / "data"), str(tmp_path / "results")
    table = slices.read("object_detection/digit_scenes", "train").slice(0, 3)
    write_deltalake(uri, table)
    source = latest(Source(uri, NAME, ("image",), "label", "id"))
    rows = training.rows_of(NAME, table, "image")
    nothing, more = write_boxes([]), write_boxes([Box("new", 1, 2, 3.5, 4)])
    decided = [("0", TASK.unit_label(rows.labels[0], "0"), nothing)]
    decided += [("1", TASK.unit_label(rows.labels[0], "1"), nothing), ("new", nothing, more)]
    votes = [
        vote(rows.ids[0], "ann", label, unit=unit, human_label=human, task=NAME)
        for unit, human, label in decided
    ]
    delta.append_once(results_uri, results(*votes), app_id="c")
    merged = merge(MergeConfig(source, results_uri, "c", str(tmp_path / "lineage")))
    assert (merged.num_decided, merged.version) == (3, 1)
    after = DeltaTable(uri).to_pyarrow_table().sort_by("id")
    assert after.schema == DeltaTable(uri, version=0).to_pyarrow_table().schema
    own = training.rows_of(NAME, after, "image").labels
    assert own[1:] == rows.labels[1:]
    assert own[0] == TASK.with_unit_label(TASK.unit_label(rows.labels[0], "4"), "new", more)


# Four sound images in five; each faulty one shows one fault.
SOUND = [Box("cat", 0, 0, 10, 10), Box("dog", 20, 20, 40, 40)]
SEEN = Detections(
    np.array([[0, 0, 10, 9], [20, 20, 40, 39]], np.float64), np.array([0.9, 0.8]), np.array([0, 1])
)
FAULTY = {
    "overlooked": (SOUND[1:], "cat", "overlooked: cat (0, 0, 10, 9), score 0.90"),
    "spurious": ([*SOUND, Box("cat", 50, 0, 60, 9)], "cat", "spurious: cat (50, 0, 60, 9)"),
    "badly_placed": ([SOUND[0], Box("dog", 30, 20, 50, 40)], "dog", "badly placed: dog (30, "),
    "swapped": ([SOUND[0], Box("cat", 20, 20, 40, 40)], "cat", "swapped: cat (20, 20, 40, 40)"),
}


@pytest.mark.parametrize("fault", box_errors.ERRORS)
def test_each_fault_is_named_and_ranks_first(fault: str) -> None:
    label, unit, told = FAULTY[fault]
    classes = ("cat", "dog")
    labels = [write_boxes(SOUND)] * 50 + [write_boxes(label)]
    models = model_task(NAME)
    scored = score([SEEN] * 51, labels, classes, threshold=0.5)
    sums = models.sums(scored, classes)
    suspicion = models.suspicion(scored, sums, classes)
    units = list(zip(scored["row"].to_pylist(), scored["unit"].to_pylist(), strict=True))
    worst = int(suspicion.argmax()) if fault != "swapped" else units.index((50, unit))
    assert units[worst] == (50, unit)
    assert suspicion[worst] > 2 * suspicion[:100].max()
    signals = models.signals(scored, sums, classes)
    assert max(box_errors.ERRORS, key=lambda name: float(signals[name][worst])) == fault
    reason = models.reasons(scored)[worst]
    assert told in reason
    assert "IoU" in reason or fault == "swapped" or "none found" in reason
    [suggestion] = scored["suggestions"][worst].as_py()
    if fault in ("spurious", "swapped"):
        assert suggestion["label"] == TASK.unit_label(write_boxes(SOUND), unit)


def test_sums_of_parts_add_up_to_the_table_s() -> None:
    classes = ("cat", "dog")
    labels = [write_boxes(SOUND), write_boxes(SOUND[1:]), write_boxes([])]
    parts = [score([SEEN], [label], classes, threshold=0.5) for label in labels]
    whole = box_errors.sums(score([SEEN] * 3, labels, classes, threshold=0.5), classes)
    for name, value in whole.items():
        assert np.array_equal(value, sum(box_errors.sums(part, classes)[name] for part in parts))


def test_a_label_without_boxes_and_an_image_without_detections_are_judged() -> None:
    nothing = Detections(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
    scored = score([nothing], [write_boxes([])], ("cat",), threshold=0.5)
    models = model_task(NAME)
    sums = models.sums(scored, ("cat",))
    assert models.suspicion(scored, sums, ("cat",)).tolist() == [0.0]
    assert models.reasons(scored) == ["no box stands out"]


def test_the_lesser_of_two_boxes_on_one_object_is_dropped_within_a_class() -> None:
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [50, 50, 60, 60]], np.float64)
    found = Detections(corners, np.array([0.5, 0.9, 0.3, 0.2]), np.array([0, 0, 1, 0]))
    kept = suppress(found, overlap=0.5, limit=10)
    assert kept.scores.tolist() == [0.9, 0.3, 0.2]


def test_average_precision_is_coco_s() -> None:
    models = model_task(NAME)
    truth = [write_boxes(SOUND), write_boxes([])]
    exact = {
        "corners": [one.corners for one in SOUND],
        "scores": [0.9, 0.8],
        "classes": ["cat", "dog"],
    }
    nothing: dict[str, Any] = {"corners": [], "scores": [], "classes": []}
    assert models.metrics([exact, nothing], truth) == {"ap50": 1.0, "ap": 1.0}
    assert models.metrics([nothing, nothing], truth) == {"ap50": 0.0, "ap": 0.0}
    shifted = {**exact, "corners": [(0, 0, 10, 8), (90, 90, 99, 99)]}  # IoU 0.8, and 0
    found = models.metrics([shifted, nothing], truth)
    assert found["ap50"] == pytest.approx(0.5)
    assert found["ap"] == pytest.approx(0.5 * 7 / 10)


@pytest.fixture(scope="module")
def scenes() -> training.Rows:
    return training.rows_of(NAME, slices.read("object_detection/digit_scenes", "train"), "image")


@pytest.fixture(scope="module")
def fitted(scenes: training.Rows) -> training.CrossFitted:
    return training.cross_fit(NAME, scenes, num_folds=2, defaults={"epochs": 10})


def test_planted_faults_rank_high_class_by_class(
    scenes: training.Rows, fitted: training.CrossFitted
) -> None:
    wrong = training.is_wrong(NAME, fitted, scenes)
    assert len(wrong) == 3 * len(scenes.ids)
    assert training.auroc(fitted.suspicion, wrong) > 0.85


def test_suspicion_beats_objectlab_on_the_same_predictions(
    scenes: training.Rows, fitted: training.CrossFitted
) -> None:
    """By image, which is what ObjectLab scores, its thresholds as cleanlab sets them."""
    wrong = np.array(
        [label != gold for label, gold in zip(scenes.labels, scenes.gold, strict=True)]
    )
    by_image = 1 - (1 - fitted.suspicion.reshape(len(scenes.ids), -1)).prod(axis=1)
    quality = _objectlab(fitted, scenes)
    assert training.auroc(by_image, wrong) > training.auroc(1 - quality, wrong) + 0.1


def _objectlab(fitted: training.CrossFitted, rows: training.Rows) -> np.ndarray[Any, Any]:
    """cleanlab's label quality of each image."""
    classes, scored = fitted.classes, fitted.scored.to_pylist()
    predictions = []
    for at in range(0, len(scored), len(classes)):
        found = np.empty(len(classes), object)
        for place, unit in enumerate(scored[at : at + len(classes)]):
            corners = np.array(unit["predicted_corners"]).reshape(-1, 4)
            found[place] = np.column_stack([corners, unit["predicted_score"]])
        predictions.append(found)
    labels = [
        {
            "bboxes": np.array([one.corners for one in read_boxes(label)]).reshape(-1, 4),
            "labels": np.array([classes.index(one.class_name) for one in read_boxes(label)], int),
        }
        for label in rows.labels
    ]
    return np.asarray(objectlab.get_label_quality_scores(labels, predictions, verbose=False))


SWIN: dict[str, Any] = {
    "image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1],
    "num_heads": [1, 2, 2], "window_size": 4, "out_features": ["stage2", "stage3"],
}  # fmt: skip
RESNET: dict[str, Any] = {
    "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic",
    "out_features": ["stage2"],
}  # fmt: skip
SMALL: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 12,
    "use_timm_backbone": False,
}  # fmt: skip
SIZE = {"shortest_edge": 48, "longest_edge": 64}
CONFIGS: dict[str, tuple[Any, Any]] = {
    "deformable-detr on swin": (
        DeformableDetrConfig(backbone_config=SwinConfig(**SWIN), num_feature_levels=2, **SMALL),
        DeformableDetrImageProcessorPil(size=SIZE),
    ),
    "detr on resnet": (
        DetrConfig(backbone_config=ResNetConfig(**RESNET), **SMALL),
        DetrImageProcessorPil(size=SIZE),
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_by_path_train_and_predict_without_it_afterwards(kind: str, tmp_path: Path) -> None:
    config, processor = CONFIGS[kind]
    path, folder = tmp_path / "model", tmp_path / "prepared"
    folder.mkdir()
    torch.manual_seed(0)
    model = AutoModelForObjectDetection.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(path)
    processor.save_pretrained(path)
    wide = TASK.read_content({"image": png.encode(np.full((40, 80), 200, np.uint8))})
    contents = [CONTENT, wide] * 2
    labels = [TASK.read_label(one, CONTENT) for one in ([CAT, DOG], [], [DOG], [CAT])]
    models = model_task(NAME)
    models.prepare(folder, model=str(path), contents=contents, labels=labels)
    learner = models.load(folder, model=str(path), classes=("cat", "dog"), pretrained=True)
    training.fit(learner, contents, labels)
    predictions = training.predict(learner, contents)
    shutil.rmtree(path)
    again = models.load(folder, model=str(path), classes=("cat", "dog"), pretrained=False)
    again.load_state_dict(learner.state_dict())
    for one, other in zip(training.predict(again, contents), predictions, strict=True):
        assert np.allclose(one.corners, other.corners, atol=1e-3)
        assert np.allclose(one.scores, other.scores, atol=1e-5)
    assert max(one.corners.max(initial=0.0) for one in predictions) <= 80
    scored = again.score(predictions, labels, contents)
    assert scored.num_rows == 8


@pytest.mark.parametrize("model", ["/nowhere", "text"])
def test_a_model_that_detects_nothing_is_refused(model: str, tmp_path: Path) -> None:
    BertConfig(vocab_size=10, hidden_size=8, num_attention_heads=1).save_pretrained(
        tmp_path / "text"
    )
    DetrImageProcessorPil().save_pretrained(tmp_path / "text")
    asked = str(tmp_path / model)
    with pytest.raises(InvalidInput, match="is not a detector by hub id or local path"):
        model_task(NAME).prepare(tmp_path, model=asked, contents=[], labels=[])


@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_are_in_pixels_of_the_upright_picture_and_the_item_says_so(orientation: int) -> None:
    stored = Image.new("RGB", (60, 40))
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    file = io.BytesIO()
    stored.save(file, "JPEG", exif=exif)
    content = TASK.read_content({"image": file.getvalue()})
    assert TASK.content_to_wire(content).image.pixel_frame == items_pb2.PIXEL_FRAME_UPRIGHT
    tall = {"label": "patch", "x0": 20, "y0": 0, "x1": 40, "y1": 60}
    wide = {"label": "patch", "x0": 0, "y0": 20, "x1": 60, "y1": 40}
    fits, leaves = (wide, tall) if orientation == 1 else (tall, wide)
    label = TASK.read_label([fits], content)
    assert TASK.incompatible_label(label, TASK.content_to_wire(content)) is None
    with pytest.raises(InvalidInput, match=r"leaves its image of .* EXIF orientation applied"):
        TASK.read_label([leaves], content)
    shown = content_text(items_pb2.Item(content=TASK.content_to_wire(content)))
    rows, columns = shown.plain.count("\n") * 2, shown.plain.index("\n")
    assert (columns > rows) == (orientation == 1)
