"""The built-in detector: object centres as peaks of a heat map, one for each class.

After Zhou et al. 2019 (Objects as Points) with the box regression of Liu et al. 2020
(TTFNet: every cell near a centre learns the distances to the four sides), on a
small convolutional backbone that learns from nothing in minutes on a CPU core.

Shapes: B images a batch, N boxes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn
from torch.nn import functional

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.detection.center_network import (
    CenterNetwork,
    box_loss,
    corners_of,
    heat_loss,
    maps,
)
from cluster.models.detection.detections import LEAST_SCORE, Detections, named, score, suppress
from cluster.models.detection.pixels import resized
from relabel_service.media import fetch
from relabel_service.media import images as media_images
from relabel_service.tasks.boxes import read_boxes

CONFIG_FILE = "detector.json"
DEFAULTS = TrainingDefaults(
    epochs=40, batch_size=8, learning_rate=2e-3, weight_decay=0.01, warmup_share=0.1
)
MULTIPLE = 16  # of the input's sides
MIN_SIDE, MAX_SIDE = 64, 256  # pixels of the longer side that the network may see
MAX_LOOKED_AT = 2_000  # images of the sample that tell sizes
SMALL_BOX = 16  # pixels that small boxes shall have there
BOX_WEIGHT = 2.0
NUM_PEAKS = 100
OVERLAP = 0.5  # IoU from which the lesser of two peaks of a class is dropped
THRESHOLD = 0.35
CROP = 0.8  # smallest part of a side that training may zoom into


@dataclass(frozen=True)
class Config:
    """side: the longer side of what the network sees. log_half: typical half width and height
    of a box there, natural logarithm of pixels."""

    side: int
    log_half: tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """The resized image and how many original pixels one of its pixels is, across and down."""

    pixels: media_images.Pixels
    scale: tuple[float, float]


Target = npt.NDArray[np.float32]  # [N, 5]: class, then corners as shares of the image's sides


def prepare(folder: Path, contents: Sequence[str], labels: Sequence[str]) -> None:
    """Choose the input's size from the sizes of images and boxes."""
    longest, sides = [], []
    for content, label in zip(contents[:MAX_LOOKED_AT], labels[:MAX_LOOKED_AT], strict=True):
        if boxes := read_boxes(label):
            longest.append(max(media_images.size(fetch.load(content))))
            sides.append(
                np.array([(box.x_max - box.x_min, box.y_max - box.y_min) for box in boxes])
                / longest[-1]
            )
    shares = np.concatenate(sides) if sides else np.full((1, 2), 0.2)
    small = float(np.quantile(shares.min(axis=1), 0.1))
    wanted = min(max(SMALL_BOX / max(small, 1e-3), MIN_SIDE), MAX_SIDE)
    side = MULTIPLE * round(min(wanted, 2 * max(longest, default=MAX_SIDE)) / MULTIPLE)
    typical = np.log(np.maximum(shares * side / 2, 1.0)).mean(axis=0)
    config = Config(max(side, MIN_SIDE), (float(typical[0]), float(typical[1])))
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config)))


def load(folder: Path, classes: Sequence[str]) -> "CenterLearner":
    """An untrained learner."""
    saved = json.loads((folder / CONFIG_FILE).read_text())
    return CenterLearner(Config(saved["side"], tuple(saved["log_half"])), classes)


class CenterLearner(nn.Module):
    """CenterNetwork as a Learner."""

    defaults = DEFAULTS
    dynamics: tuple[str, ...] = ("loss",)
    needs_labels_to_score = False

    def __init__(self, config: Config, classes: Sequence[str]) -> None:
        super().__init__()
        self.network = CenterNetwork(len(classes), config.log_half)
        self._side, self._classes = config.side, list(classes)
        self._index = {name: index for index, name in enumerate(classes)}

    def encode(self, contents: Sequence[str]) -> list[Picture]:
        return [self._encode(content) for content in contents]

    def _encode(self, content: str) -> Picture:
        image = media_images.decode(fetch.load(content))
        pixels = resized(image, self._side)
        height, width = pixels.shape[:2]
        return Picture(pixels, (image.width / width, image.height / height))

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[Target]:
        return [
            self._target(label, content) for label, content in zip(labels, contents, strict=True)
        ]

    def _target(self, label: str, content: str) -> Target:
        width, height = media_images.size(fetch.load(content))
        rows = [
            (self._index[box.class_name], box.x_min / width, box.y_min / height,
             box.x_max / width, box.y_max / height)
            for box in read_boxes(label)
        ]  # fmt: skip
        return np.array(rows, np.float32).reshape(-1, 5)

    def size(self, encoded: Picture) -> int:
        return int(encoded.pixels.shape[0] * encoded.pixels.shape[1])

    def collate(
        self, encoded: Sequence[Picture], targets: Sequence[Target] | None = None
    ) -> Tensors:
        images = [torch.from_numpy(picture.pixels.transpose(2, 0, 1).copy()) for picture in encoded]
        if targets is None:
            scale = torch.tensor([picture.scale for picture in encoded])
            sizes = torch.tensor([picture.pixels.shape[1::-1] for picture in encoded])
            return {"images": _padded(images), "scale": scale, "limit": sizes * scale}
        pairs = [_zoomed(*pair) for pair in zip(images, targets, strict=True)]
        batch = _padded([image for image, _ in pairs])
        boxes = [
            target * torch.tensor([1, *image.shape[:0:-1], *image.shape[:0:-1]])
            for image, target in pairs
        ]
        return {
            "images": batch,
            "boxes": nn.utils.rnn.pad_sequence(boxes, batch_first=True, padding_value=-1.0),
        }

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        heat, sides = self.network(batch["images"])
        with torch.no_grad():
            peaks, near, owner = maps(batch["boxes"], heat.shape)
        loss = heat_loss(heat.float(), peaks) + BOX_WEIGHT * box_loss(
            sides.float(), batch["boxes"], near, owner
        )
        return loss, loss.detach()[:, None]

    def predict(self, batch: Tensors) -> list[Detections]:
        heat, sides = self.network(batch["images"])
        scores = heat.float().sigmoid()
        peaks = scores * (functional.max_pool2d(scores, 3, stride=1, padding=1) == scores)
        best, peak = peaks.flatten(1).topk(min(NUM_PEAKS, peaks[0].numel()))
        cells = heat.shape[2] * heat.shape[3]
        corners = corners_of(sides.float()).flatten(2)  # [B, 4, cells]
        chosen = corners.gather(2, (peak % cells)[:, None].expand(-1, 4, -1)).transpose(1, 2)
        chosen = chosen * batch["scale"].repeat(1, 2)[:, None]
        limit = batch["limit"].repeat(1, 2)[:, None]
        chosen = torch.minimum(chosen.clamp(min=0), limit)
        return [
            suppress(
                Detections(corner[score >= LEAST_SCORE], score[score >= LEAST_SCORE],
                           kind[score >= LEAST_SCORE]),
                overlap=OVERLAP, limit=NUM_PEAKS,
            )
            for corner, score, kind in zip(
                chosen.cpu().numpy().astype(np.float64),
                best.cpu().numpy().astype(np.float64),
                (peak // cells).cpu().numpy(),
                strict=True,
            )
        ]  # fmt: skip

    def score(
        self, predictions: Sequence[Detections], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        return score(predictions, labels, self._classes, threshold=THRESHOLD)

    def decode(self, predictions: Sequence[Detections]) -> list[Mapping[str, Any]]:
        """Corners, scores and class names of each image's boxes."""
        return [named(detections, self._classes) for detections in predictions]


def _padded(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Images at the top left of one canvas: uint8 [B, 3, H, W]."""
    height, width = (
        MULTIPLE * -(-max(image.shape[side] for image in images) // MULTIPLE) for side in (1, 2)
    )
    canvas = torch.zeros((len(images), 3, height, width), dtype=torch.uint8)
    for number, image in enumerate(images):
        canvas[number, :, : image.shape[1], : image.shape[2]] = image
    return canvas


def _zoomed(image: torch.Tensor, target: Target) -> tuple[torch.Tensor, torch.Tensor]:
    """A random part of the image at the image's own size, a little brighter or darker.

    Boxes whose centre is cut off are dropped. No mirroring: it would turn letters over.
    """
    boxes = torch.from_numpy(target)
    height, width = image.shape[1:]
    share = CROP + (1 - CROP) * torch.rand(2)
    top, left = ((1 - share) * torch.rand(2) * torch.tensor([height, width])).long().tolist()
    rows, columns = max(1, int(share[0] * height)), max(1, int(share[1] * width))
    part = image[None, :, top : top + rows, left : left + columns].float()
    part = functional.interpolate(part, size=(height, width), mode="bilinear")[0]
    light = 1.0 + 0.2 * (2 * torch.rand(1) - 1)
    part = (part * light).clamp_(0, 255).to(torch.uint8)
    start = torch.tensor([left / width, top / height])
    length = torch.tensor([columns / width, rows / height])
    corners = (boxes[:, 1:] - start.repeat(2)) / length.repeat(2)
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    inside = ((centre > 0) & (centre < 1)).all(dim=1)
    return part, torch.cat([boxes[:, :1], corners.clamp(0, 1)], dim=1)[inside]
