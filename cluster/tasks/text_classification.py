"""Text classification: any transformers encoder, or a built-in that needs no download."""

from collections.abc import Sequence
from pathlib import Path

from cluster.models.class_learner import ClassLearner
from cluster.models.text import ngram
from cluster.tasks.classification import ClassScores


class TextClassificationModels(ClassScores):
    name = "text_classification"

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        if model is None:
            ngram.prepare(folder, contents)
        else:
            from cluster.models.text import (
                pretrained as pretrained_text,  # transformers, only where asked for
            )

            pretrained_text.prepare(folder, model)

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> ClassLearner:
        if model is None:
            return ngram.load(folder, classes)
        from cluster.models.text import (
            pretrained as pretrained_text,  # transformers, only where asked for
        )

        return pretrained_text.load(folder, model, classes=classes, pretrained=pretrained)
