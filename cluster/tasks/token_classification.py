"""Token classification: any transformers tagger, or a built-in that needs no download."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from nervaluate.entities import Entity, EvaluationResult
from nervaluate.strategies import StrictEvaluation

from cluster.models.tagging import tagger
from cluster.tasks.shingles import shingles
from cluster.tasks.tagging import TagLearner, TagScores
from relabel_service.tasks import spans


class TokenClassificationModels(TagScores):
    name = "token_classification"

    def shingles(self, content: str) -> Iterable[bytes]:
        """Runs of 5 characters of the tokens set together, letter case set aside."""
        return shingles(re.sub(r"\s+", "", "".join(json.loads(content)).lower()))

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        if model is None:
            tagger.prepare(folder, contents)
        else:
            from cluster.models.tagging import (
                pretrained as pretrained_tagger,  # transformers, only where asked for
            )

            pretrained_tagger.prepare(folder, model)

    def start(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> TagLearner:
        if model is None:
            return tagger.start(folder, classes)
        from cluster.models.tagging import (
            pretrained as pretrained_tagger,  # transformers, only where asked for
        )

        return pretrained_tagger.start(folder, model, classes=classes, pretrained=pretrained)

    def metrics(self, answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
        """Entities found with both ends and class right (CoNLL): F1, precision, recall over all."""
        strict, total = StrictEvaluation(), EvaluationResult()
        for answer, label in zip(answers, labels, strict=True):
            one, _ = strict.evaluate(_entities(label), _entities(answer), [])
            total.correct += one.correct
            total.incorrect += one.incorrect
            total.missed += one.missed
            total.spurious += one.spurious
        total.compute_metrics()
        return {
            "entity_f1": float(total.f1),
            "precision": float(total.precision),
            "recall": float(total.recall),
        }


def _entities(label: str) -> list[Entity]:
    return [Entity(class_name, start, end - 1) for start, end, class_name in spans.from_text(label)]
