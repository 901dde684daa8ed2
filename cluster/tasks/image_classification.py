"""Image classification: any transformers picture model, or a built-in that needs no download."""

from collections.abc import Sequence
from pathlib import Path

from cluster.models.class_learner import ClassLearner
from cluster.models.image import convnet as image_convnet
from cluster.tasks.classification import ClassScores


class ImageClassificationModels(ClassScores):
    name = "image_classification"

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        if model is None:
            image_convnet.prepare(folder, contents)
        else:
            from cluster.models.image import (
                pretrained as pretrained_image,  # transformers, only where asked for
            )

            pretrained_image.prepare(folder, model)

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> ClassLearner:
        if model is None:
            return image_convnet.load(folder, classes)
        from cluster.models.image import (
            pretrained as pretrained_image,  # transformers, only where asked for
        )

        return pretrained_image.load(folder, model, classes=classes, pretrained=pretrained)
