"""The built-in picture model: pixels at a small size into a ConvNet."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.class_learner import ClassLearner
from cluster.models.convnet import ConvNet
from relabel_service.media import fetch, images

SIDES = (8, 64)  # least and most pixels a side
MAX_LOOKED_AT = 500  # pictures of the sample that tell size and brightness
FILE = "pixels.json"
DEFAULTS = TrainingDefaults(
    epochs=12, batch_size=64, learning_rate=3e-3, weight_decay=0.05, warmup_share=0.1
)


def prepare(folder: Path, contents: Sequence[str]) -> None:
    """Write the side, whether all is grey, and mean and deviation of the sample's pixels."""
    some = [fetch.load(content) for content in contents[:MAX_LOOKED_AT]]
    side = int(np.clip(np.median([max(images.size(data)) for data in some]), *SIDES))
    seen = np.stack([images.pixels(data, width=side, height=side) for data in some])
    is_grey = bool((seen == seen[..., :1]).all())
    config = {
        "side": side,
        "grey": is_grey,
        "mean": float(seen.mean()),
        "deviation": max(float(seen.std()), 1.0),
    }
    (folder / FILE).write_text(json.dumps(config))


def load(folder: Path, classes: Sequence[str]) -> ClassLearner:
    """An untrained learner."""
    config = json.loads((folder / FILE).read_text())
    side, is_grey = config["side"], config["grey"]

    def encode(contents: Sequence[str]) -> list[images.Pixels]:
        return [
            images.pixels(fetch.load(content), width=side, height=side, grey=is_grey)
            for content in contents
        ]

    return ClassLearner(
        _PixelNet(config, num_classes=len(classes)),
        classes=classes,
        defaults=DEFAULTS,
        encode=encode,
        collate=_collate,
        size=lambda _: 1,
    )


class _PixelNet(nn.Module):
    """uint8 pixels [B, H, W, K] -> logits [B, C]."""

    def __init__(self, config: dict[str, float], *, num_classes: int) -> None:
        super().__init__()
        side = int(config["side"])
        self.mean, self.deviation = config["mean"], config["deviation"]
        self.net = ConvNet(
            1 if config["grey"] else 3, num_classes, side=side, shift=(side // 8, side // 8)
        )

    def forward(self, batch: Tensors) -> torch.Tensor:
        pixels = (batch["pixels"].float() - self.mean) / self.deviation
        logits: torch.Tensor = self.net(pixels.permute(0, 3, 1, 2))
        return logits


def _collate(encoded: Sequence[images.Pixels]) -> Tensors:
    return {"pixels": torch.from_numpy(np.stack(encoded))}
