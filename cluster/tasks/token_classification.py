"""Token classification: any transformers tagger, or a built-in that needs no download.

A finding is a row and a class: the entities of that class in the row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from nervaluate.entities import Entity, EvaluationResult
from nervaluate.strategies import StrictEvaluation

from cluster.interfaces import Array, Ensemble, PredictionForm
from cluster.models.tagging import tagger, tags
from cluster.models.tagging.tag_learner import SIGNALS, TagLearner
from cluster.models.tagging.tag_predictions import TagPredictions
from cluster.tasks.defaults import LabelsAreNoTexts, ShownAsScored
from relabel_service.tasks import spans

NO_ENTITY = spans.to_text([])


class TokenClassificationModels(LabelsAreNoTexts, ShownAsScored):
    name = "token_classification"
    ranking_signals: tuple[str, ...] = ()
    ensemble: Ensemble | None = None
    predictions: PredictionForm | None = TagPredictions()

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

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> TagLearner:
        if model is None:
            return tagger.load(folder, classes)
        from cluster.models.tagging import (
            pretrained as pretrained_tagger,  # transformers, only where asked for
        )

        return pretrained_tagger.load(folder, model, classes=classes, pretrained=pretrained)

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        """Over the units that name an entity, class by class: how many, and their p_label."""
        number, names_some, p_label = _columns(scored, classes)
        counted = np.bincount(number[names_some], minlength=len(classes))
        added = np.bincount(number[names_some], p_label[names_some], minlength=len(classes))
        return {"num_named": counted.astype(np.float64), "p_named": added.astype(np.float64)}

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """One minus the worst token's probability (Wang and Mueller 2022, section 3), in [0, 1].

        A unit that names entities is compared with what its class usually gets, t / (t + p),
        as confident learning does with its thresholds (Northcutt et al. 2021, section 3.1):
        a model gives rare classes little, whether their labels are right or wrong.
        """
        number, names_some, p_label = _columns(scored, classes)
        usual = (sums["p_named"] / np.maximum(sums["num_named"], 1))[number]
        relative = usual / np.maximum(usual + p_label, tags.LEAST)
        return np.clip(np.where(names_some, relative, 1.0 - p_label), 0.0, 1.0)

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        return {name: scored[name].to_numpy() for name in SIGNALS}

    def noise_matrix(self, sums: Mapping[str, Array]) -> None:
        """None: a label is entities."""

    def reasons(self, scored: pa.Table) -> list[str]:
        reasons: list[str] = scored["reason"].to_pylist()
        return reasons

    def metrics(
        self, predicted: Sequence[str], labels: Sequence[str], *, tokenize: str = ""
    ) -> dict[str, float]:
        """Entities found with both ends and class right (CoNLL): F1, precision, recall over all."""
        strict, total = StrictEvaluation(), EvaluationResult()
        for prediction, label in zip(predicted, labels, strict=True):
            row, _ = strict.evaluate(_entities(label), _entities(prediction), [])
            total.correct += row.correct
            total.incorrect += row.incorrect
            total.missed += row.missed
            total.spurious += row.spurious
        total.compute_metrics()
        return {
            "entity_f1": float(total.f1),
            "precision": float(total.precision),
            "recall": float(total.recall),
        }


def _columns(
    scored: pa.Table, classes: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], Array]:
    """Each unit's class as a number, whether the label names an entity of it, and p_label."""
    index = {name: number for number, name in enumerate(classes)}
    number = np.array([index[unit] for unit in scored["unit"].to_pylist()], np.int64)
    names_some = pc.not_equal(scored["label"], NO_ENTITY).to_numpy(zero_copy_only=False)
    return number, names_some, scored["p_label"].to_numpy()


def _entities(label: str) -> list[Entity]:
    return [Entity(class_name, start, end - 1) for start, end, class_name in spans.from_text(label)]
