"""What text, image and audio classification share: loss, prediction, judgement, metrics.

Arrays: B rows, C classes in the order of the manifest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn
from torch.nn import functional

from cluster.interfaces import Array, Tensors, TrainingDefaults
from cluster.scores.compact import compact
from cluster.scores.noise import NoiseModel, belief_sums
from cluster.scores.signals import entropy
from cluster.scores.suspicion import suspicion
from cluster.tasks import class_views
from cluster.tasks.class_views import NUM_OTHERS, compact_columns, read_compact
from relabel_service.tables.schemas import SUGGESTION

NUM_SUGGESTIONS = 3
TARGET = "target"
OBSERVED = ("p_label", "margin")
SIGNALS = ("p_label", "p_other", "entropy", "label_rank")

Probabilities = npt.NDArray[np.float32]


class ClassLearner(nn.Module):
    """A network that gives logits, and the encoding of its inputs, as a Learner.

    network: batch without targets -> logits [B, C].
    """

    observed: tuple[str, ...] = OBSERVED

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[str],
        defaults: TrainingDefaults,
        encode: Callable[[Sequence[str]], list[Any]],
        collate: Callable[[Sequence[Any]], Tensors],
        size: Callable[[Any], int],
    ) -> None:
        super().__init__()
        self.network = network
        self.defaults = defaults
        self.encode = encode
        self.size = size
        self._classes = list(classes)
        self._place = {name: place for place, name in enumerate(classes)}
        self._collate = collate

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[int]:
        return [self._place[label] for label in labels]

    def collate(self, encoded: Sequence[Any], targets: Sequence[int] | None = None) -> Tensors:
        batch = self._collate(encoded)
        if targets is not None:
            batch[TARGET] = torch.tensor(targets, dtype=torch.long)
        return batch

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        target = batch[TARGET]
        logits = self.network({name: value for name, value in batch.items() if name != TARGET})
        loss = functional.cross_entropy(logits, target, reduction="none")
        return loss, _observe(logits.detach().float(), target)

    def predict(self, batch: Tensors) -> list[Probabilities]:
        return list(torch.softmax(self.network(batch).float(), dim=-1).cpu().numpy())

    def score(
        self,
        predictions: Sequence[Probabilities],
        labels: Sequence[str],
        contents: Sequence[str],
    ) -> pa.Table:
        given = np.array([self._place[label] for label in labels], np.int64)
        return score(np.stack(predictions), given, self._classes)

    def answers(self, predictions: Sequence[Probabilities]) -> list[str]:
        return [self._classes[int(row.argmax())] for row in predictions]


def score(
    probabilities: Probabilities, given: npt.NDArray[np.int64], classes: Sequence[str]
) -> pa.Table:
    """Labels against predictions, as Learner.judge gives them.

    probabilities: [B, C]; given: class of the human label, [B].
    """
    num_rows = len(given)
    rows = compact(probabilities, given, num_others=NUM_OTHERS)
    return pa.table(
        {
            "row": np.arange(num_rows),
            "unit": [""] * num_rows,
            "label": [classes[place] for place in given],
            "suggestions": _suggestions(probabilities, classes),
            "given": rows.given,
            **compact_columns(rows),
            "p_other": rows.p_others[:, 0].astype(np.float64),
            "entropy": entropy(probabilities).astype(np.float64),
            "label_rank": _label_rank(probabilities, given),
        }
    )


def _label_rank(probabilities: Probabilities, given: npt.NDArray[np.int64]) -> Array:
    """Place of the human label among the classes, 1 the most probable; equals share the better."""
    p_label = probabilities[np.arange(len(given)), given][:, None]
    place: Array = 1.0 + (probabilities > p_label).sum(axis=1)
    return place


def _suggestions(probabilities: Probabilities, classes: Sequence[str]) -> pa.Array:
    """The most probable classes of each row, most probable first."""
    kept = min(NUM_SUGGESTIONS, probabilities.shape[1])
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :kept]
    names = np.array(classes, object)[best].ravel()
    values = np.take_along_axis(probabilities, best, axis=1).ravel().astype(np.float64)
    offsets = np.arange(0, len(values) + 1, kept, dtype=np.int32)
    flat = pa.StructArray.from_arrays(
        [pa.array(names, pa.string()), pa.array(values)], fields=list(SUGGESTION)
    )
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _observe(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """p(label), and the logit margin that AUM averages (Pleiss et al. 2020, section 3): [B, 2]."""
    label = logits.gather(1, target[:, None])
    other = logits.scatter(1, target[:, None], -torch.inf).amax(dim=1, keepdim=True)
    p_label = logits.softmax(dim=1).gather(1, target[:, None])
    return torch.cat([p_label, label - other], dim=1)


class ClassScores:
    """The scoring half of a classification task's ModelTask; it pools views (seam.Pools)."""

    def moments(self, scored: pa.Table, classes: Sequence[str], num_folds: int) -> dict[str, Array]:
        return class_views.moments(scored, len(classes), num_folds)

    def learn(
        self, sample: pa.Table, moments: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        return class_views.learn(sample, moments, len(classes))

    def with_views(
        self, scored: pa.Table, learned: Mapping[str, Array], classes: Sequence[str]
    ) -> pa.Table:
        return class_views.with_views(scored, learned, len(classes))

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        own = {class_views.BELIEF: belief_sums(read_compact(scored), len(classes))}
        return own | class_views.view_sums(scored, len(classes))

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """By chance and by the table's noise model, half each, hedged over the views if any."""
        if class_views.members_of(scored):
            return class_views.hedged(class_views.view_suspicions(scored, sums))
        return suspicion(read_compact(scored), NoiseModel.of(sums[class_views.BELIEF]))

    def noise_matrix(self, sums: Mapping[str, Array]) -> Array:
        """Of the pool of views, or of the one view."""
        return class_views.noise_model(sums).matrix

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """SIGNALS are the trained model's own; then suspicion by each way labels go wrong, and by
        each view alone."""
        others = class_views.ways(scored, sums) | class_views.view_suspicions(scored, sums)
        return {name: scored[name].to_numpy() for name in SIGNALS} | {
            f"suspicion_{name}": found for name, found in others.items()
        }

    def reasons(self, scored: pa.Table) -> list[str]:
        return [
            f"model says {row['suggestions'][0]['label']} "
            f"({row['suggestions'][0]['probability']:.0%}), "
            f"gives {row['label']} {row['p_label']:.0%}"
            for row in scored.select(["label", "suggestions", "p_label"]).to_pylist()
        ]

    def metrics(self, answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
        """Accuracy, and F1 averaged over the classes that occur."""
        predicted, true = np.array(answers), np.array(labels)
        f1 = [_f1(predicted == name, true == name) for name in sorted(set(labels))]
        return {"accuracy": float((predicted == true).mean()), "macro_f1": float(np.mean(f1))}


def _f1(predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    both = int((predicted & true).sum())
    return 2 * both / max(int(predicted.sum()) + int(true.sum()), 1)
