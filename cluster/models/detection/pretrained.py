"""Detectors of the transformers library, by hub id or local path: DETR and its kin.

The backbone is the model's own: Swin, ResNet or another of the library's. Backbones
from timm need that package, which needs torchvision.

Shapes: B images a batch, N boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.detection.detections import LEAST_SCORE, Detections, named, score, suppress
from cluster.models.pretrained import classifier
from relabel_service.errors import InvalidInput
from relabel_service.media import fetch
from relabel_service.media import images as media_images
from relabel_service.tasks.boxes import read_boxes

DEFAULTS = TrainingDefaults(
    epochs=20, batch_size=4, learning_rate=5e-5, weight_decay=1e-4, warmup_share=0.1
)
PILLOW = "pil"  # the processors' backend that needs no torchvision
THRESHOLD = 0.5  # score from which a box is suggested
OVERLAP = 0.7  # IoU from which the lesser of two boxes of a class is dropped
LIMIT = 300  # boxes of an image

Target = npt.NDArray[np.float32]  # [N, 5]: class, then centre, width, height as shares of the image


@dataclass(frozen=True)
class File:
    """An image as it is stored: decoded batch by batch, since pixels would fill the memory."""

    data: bytes
    size: tuple[int, int]


def prepare(folder: Path, model: str) -> None:
    """Keep the image processor and configuration, so that inference needs neither hub nor path."""
    try:
        _processor(model).save_pretrained(folder)
        config = AutoConfig.from_pretrained(model)
        if type(config) not in AutoModelForObjectDetection._model_mapping:
            raise ValueError(f"a {config.model_type} does not detect objects")
        config.save_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a detector by hub id or local path: {error}"
        ) from None


def load(
    folder: Path, model: str, *, classes: Sequence[str], pretrained: bool
) -> "PretrainedLearner":
    """A learner; with the model's own weights where `pretrained` (see classifier)."""
    config = AutoConfig.from_pretrained(folder, num_labels=len(classes))
    try:
        network = classifier(
            AutoModelForObjectDetection, config, model, outputs=classes, pretrained=pretrained
        )
    except ImportError as error:
        raise InvalidInput.of(
            "model", f"{model!r} needs a package that is not here ({error}); use a model whose "
            "backbone is transformers' own, such as Swin or ResNet"
        ) from None  # fmt: skip
    return PretrainedLearner(network, _processor(folder), classes)


class PretrainedLearner(nn.Module):
    """A transformers detector as a Learner. Its loss is one of the batch: matching is joint."""

    defaults = DEFAULTS
    dynamics: tuple[str, ...] = ()
    needs_labels_to_score = False

    def __init__(self, network: nn.Module, processor: Any, classes: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._processor, self._classes = processor, list(classes)
        self._index = {name: index for index, name in enumerate(classes)}

    def encode(self, contents: Sequence[str]) -> list[File]:
        files = [fetch.load(content) for content in contents]
        return [File(data, media_images.size(data)) for data in files]

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[Target]:
        return [
            self._target(label, media_images.size(fetch.load(content)))
            for label, content in zip(labels, contents, strict=True)
        ]

    def _target(self, label: str, size: tuple[int, int]) -> Target:
        width, height = size
        rows = [
            (self._index[box.class_name],
             (box.x_min + box.x_max) / 2 / width, (box.y_min + box.y_max) / 2 / height,
             (box.x_max - box.x_min) / width, (box.y_max - box.y_min) / height)
            for box in read_boxes(label)
        ]  # fmt: skip
        return np.array(rows, np.float32).reshape(-1, 5)

    def size(self, encoded: File) -> int:
        return encoded.size[0] * encoded.size[1]

    def collate(self, encoded: Sequence[File], targets: Sequence[Target] | None = None) -> Tensors:
        images = [media_images.decode(file.data) for file in encoded]
        batch = dict(self._processor(images=images, return_tensors="pt"))
        if targets is None:
            batch["sizes"] = torch.tensor([(file.size[1], file.size[0]) for file in encoded])
            return batch
        boxes = [torch.from_numpy(target) for target in targets]
        batch["boxes"] = nn.utils.rnn.pad_sequence(boxes, batch_first=True, padding_value=-1.0)
        return batch

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = {name: value for name, value in batch.items() if name != "boxes"}
        labels = [_label(boxes) for boxes in batch["boxes"]]
        loss = self.network(**inputs, labels=labels).loss
        num_rows = len(labels)
        return loss.expand(num_rows), loss.new_zeros(num_rows, 0)

    def predict(self, batch: Tensors) -> list[Detections]:
        inputs = {name: value for name, value in batch.items() if name != "sizes"}
        boxes = self._processor.post_process_object_detection(
            _single(self.network(**inputs)), threshold=LEAST_SCORE, target_sizes=batch["sizes"]
        )
        return [
            suppress(_detections(image, size), overlap=OVERLAP, limit=LIMIT)
            for image, size in zip(boxes, batch["sizes"].tolist(), strict=True)
        ]

    def score(
        self, predictions: Sequence[Detections], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        return score(predictions, labels, self._classes, threshold=THRESHOLD)

    def decode(self, predictions: Sequence[Detections]) -> list[Mapping[str, Any]]:
        """Corners, scores and class names of each image's boxes."""
        return [named(detections, self._classes) for detections in predictions]


def _label(boxes: torch.Tensor) -> dict[str, torch.Tensor]:
    """One image's target as transformers wants it. boxes: [N, 5], class -1 for none."""
    real = boxes[boxes[:, 0] >= 0]
    return {"class_labels": real[:, 0].long(), "boxes": real[:, 1:]}


def _single(output: Any) -> Any:
    """The output in single precision: numpy has no bfloat16."""
    output.logits, output.pred_boxes = output.logits.float(), output.pred_boxes.float()
    return output


def _detections(boxes: Mapping[str, torch.Tensor], size: Sequence[int]) -> Detections:
    """size: height and width of the image, which boxes are cut to."""
    height, width = size
    corners = boxes["boxes"].cpu().numpy().astype(np.float64)
    corners = np.clip(corners, 0.0, np.array([width, height, width, height], np.float64))
    return Detections(
        corners, boxes["scores"].cpu().numpy().astype(np.float64), boxes["labels"].cpu().numpy()
    )


def _processor(model: str | Path) -> Any:
    return AutoImageProcessor.from_pretrained(model, backend=PILLOW)  # type: ignore[no-untyped-call]
