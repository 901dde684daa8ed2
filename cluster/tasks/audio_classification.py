"""Audio classification: any transformers sound model, or a built-in that needs no download."""

from collections.abc import Sequence
from pathlib import Path

from cluster.models.audio import convnet as audio_convnet
from cluster.models.class_learner import ClassLearner
from cluster.tasks.classification import ClassScores


class AudioClassificationModels(ClassScores):
    name = "audio_classification"

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        if model is None:
            audio_convnet.prepare(folder, contents)
        else:
            from cluster.models.audio import (
                pretrained as pretrained_audio,  # transformers, only where asked for
            )

            pretrained_audio.prepare(folder, model)

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> ClassLearner:
        if model is None:
            return audio_convnet.load(folder, classes)
        from cluster.models.audio import (
            pretrained as pretrained_audio,  # transformers, only where asked for
        )

        return pretrained_audio.load(folder, model, classes=classes, pretrained=pretrained)
