"""What text, image and audio classification share: suspicion, signals, reasons and metrics."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.interfaces import Array, Ensemble, PredictionForm
from cluster.models.class_predictions import ClassPredictions
from cluster.scores.compact_table import read_compact
from cluster.scores.noise import NoiseModel
from cluster.scores.suspicion import suspicion
from cluster.tasks import class_ensemble
from cluster.tasks.defaults import LabelsAreNoTexts, ShownAsScored

SIGNALS = ("p_label", "p_other", "entropy", "label_rank")


class ClassScores(LabelsAreNoTexts, ShownAsScored):
    """The scoring half of a classification task's ModelTask."""

    ranking_signals: tuple[str, ...] = ()
    ensemble: Ensemble | None = class_ensemble
    predictions: PredictionForm | None = ClassPredictions()

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        return class_ensemble.sums(scored, len(classes))

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """By chance and by the noise model, half each; over the ensemble where there is one."""
        if class_ensemble.names_in(scored):
            return class_ensemble.combined(class_ensemble.suspicions(scored, sums))
        return suspicion(read_compact(scored), NoiseModel.of(sums[class_ensemble.BELIEF]))

    def noise_matrix(self, sums: Mapping[str, Array]) -> Array:
        """By the ensemble's average, or by the trained model alone."""
        return class_ensemble.noise_model(sums).matrix

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """SIGNALS are the trained model's own; then suspicion by each way labels go wrong, and by
        each model alone."""
        others = class_ensemble.suspicions_by_assumption(scored, sums)
        others |= class_ensemble.suspicions(scored, sums)
        return {name: scored[name].to_numpy() for name in SIGNALS} | {
            f"suspicion_{name}": values for name, values in others.items()
        }

    def reasons(self, scored: pa.Table) -> list[str]:
        return [
            f"model says {row['suggestions'][0]['label']} "
            f"({row['suggestions'][0]['probability']:.0%}), "
            f"gives {row['label']} {row['p_label']:.0%}"
            for row in scored.select(["label", "suggestions", "p_label"]).to_pylist()
        ]

    def metrics(
        self, predicted: Sequence[str], labels: Sequence[str], *, tokenize: str = ""
    ) -> dict[str, float]:
        """Accuracy, and F1 averaged over the classes that occur."""
        outputs, true = np.array(predicted), np.array(labels)
        f1 = [_f1(outputs == name, true == name) for name in sorted(set(labels))]
        return {"accuracy": float((outputs == true).mean()), "macro_f1": float(np.mean(f1))}


def _f1(predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    both = int((predicted & true).sum())
    return 2 * both / max(int(predicted.sum()) + int(true.sum()), 1)
