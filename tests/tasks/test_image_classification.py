"""Image classification: pictures in, class names out, wrong labels near the top."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    BertConfig,
    ConvNextImageProcessorPil,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

from cluster.tasks import model_task
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from tests.data import png, slices
from tests.support import cross_fit as training

NAME = "image_classification"
TASK = task_named(NAME)
PICTURE = png.encode(np.arange(64, dtype=np.uint8).reshape(8, 8))


@pytest.fixture(scope="module")
def digits() -> training.Rows:
    return training.rows_of(NAME, slices.read("image_classification/digits", "train"), "image")


@pytest.fixture(scope="module")
def fitted(digits: training.Rows) -> training.CrossFitted:
    return training.cross_fit(NAME, digits, num_folds=2, defaults={"epochs": 4})


def test_a_picture_goes_over_the_wire_as_its_bytes() -> None:
    content = TASK.read_content({"image": PICTURE})
    wire = TASK.content_to_wire(content)
    assert wire.image.data == PICTURE
    assert wire.image.media_type == "image/png"


def test_a_picture_that_cannot_be_decoded_is_a_fault_of_its_row() -> None:
    with pytest.raises(InvalidInput, match="photo: is not a readable picture"):
        TASK.read_content({"photo": PICTURE[:50]})


def test_copies_of_a_picture_share_their_fold_and_others_do_not() -> None:
    other = png.encode(np.zeros((8, 8), np.uint8))
    first, again, different = (
        TASK.compared_text(TASK.read_content({"image": one})) for one in (PICTURE, PICTURE, other)
    )
    assert first == again != different


def test_planted_wrong_labels_rank_high(
    digits: training.Rows, fitted: training.CrossFitted
) -> None:
    assert len(fitted.suspicion) == len(digits.ids)
    wrong = training.is_wrong(NAME, fitted, digits)
    assert 0.15 < wrong.mean() < 0.25
    assert training.auroc(fitted.suspicion, wrong) > 0.9


def test_suggestions_of_wrong_labels_are_mostly_the_truth(
    digits: training.Rows, fitted: training.CrossFitted
) -> None:
    wrong = training.is_wrong(NAME, fitted, digits)
    first = [row[0]["label"] for row in fitted.scored["suggestions"].to_pylist()]
    assert np.mean(np.array(first)[wrong] == np.array(digits.gold)[wrong]) > 0.7


def test_grey_and_colour_pictures_of_any_size_are_encoded(tmp_path: Path) -> None:
    models = model_task(NAME)
    for mode, num_channels in (("L", 1), ("RGB", 3)):
        contents = [TASK.read_content({"image": drawn(mode, size)}) for size in (10, 12, 300)]
        models.prepare(tmp_path, model=None, contents=contents, labels=["a", "b", "a"])
        learner = models.load(tmp_path, model=None, classes=("a", "b"), pretrained=True)
        assert {one.shape for one in learner.encode(contents)} == {(12, 12, num_channels)}
        [alone] = learner.encode(contents[2:])
        assert np.array_equal(alone, learner.encode(contents)[2])


def drawn(mode: str, size: int) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (size, size), 200 if mode == "L" else (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


PROCESSOR = ViTImageProcessorPil(size={"height": 16, "width": 16})
CONFIGS = {
    "swin": (
        SwinConfig(
            image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
        ),
        PROCESSOR,
    ),
    "vit": (
        ViTConfig(
            image_size=16,
            patch_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        PROCESSOR,
    ),
    "resnet": (
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        ConvNextImageProcessorPil(size={"shortest_edge": 16}),
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_by_path_train_and_predict_without_it_afterwards(kind: str, tmp_path: Path) -> None:
    config, processor = CONFIGS[kind]
    path, folder = tmp_path / "model", tmp_path / "prepared"
    folder.mkdir()
    model = AutoModelForImageClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(path)
    processor.save_pretrained(path)
    contents = [TASK.read_content({"image": drawn(mode, 20)}) for mode in ("L", "RGB")] * 4
    labels = ["grey", "red"] * 4
    models = model_task(NAME)
    models.prepare(folder, model=str(path), contents=contents, labels=labels)
    learner = models.load(folder, model=str(path), classes=("grey", "red"), pretrained=True)
    training.fit(learner, contents, labels)
    predictions = training.predict(learner, contents)
    shutil.rmtree(path)
    again = models.load(folder, model=str(path), classes=("grey", "red"), pretrained=False)
    again.load_state_dict(learner.state_dict())
    assert np.allclose(training.predict(again, contents), predictions, atol=1e-6)
    assert np.stack(predictions).shape == (8, 2)


@pytest.mark.parametrize("model", ["/nowhere", "text"])
def test_a_model_that_sees_no_pictures_is_refused(model: str, tmp_path: Path) -> None:
    BertConfig(vocab_size=10, hidden_size=8, num_attention_heads=1).save_pretrained(
        tmp_path / "text"
    )
    PROCESSOR.save_pretrained(tmp_path / "text")
    asked = str(tmp_path / model)
    with pytest.raises(InvalidInput, match="is not a picture model by hub id or local path"):
        model_task(NAME).prepare(tmp_path, model=asked, contents=[], labels=[])
