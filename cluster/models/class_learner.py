"""The learner of every task with one class a row: a network of logits, and its scored rows.

Arrays: B rows, C classes in the order of the manifest.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn import functional

from cluster.interfaces import Array, Tensors
from cluster.models.network_learner import NetworkLearner
from cluster.scores.compact import compact
from cluster.scores.compact_table import LABEL_INDEX, NUM_OTHERS, compact_columns
from cluster.scores.entropy import entropy
from relabel_service.tables.schemas import SUGGESTION

NUM_SUGGESTIONS = 3
TARGET = "target"

Probabilities = npt.NDArray[np.float32]


class ClassLearner(NetworkLearner):
    """A network that gives logits, and the encoding of its inputs, as a Learner.

    network: batch without targets -> logits [B, C].
    """

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.classes)}

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[int]:
        return [self._index[label] for label in labels]

    def collate(self, encoded: Sequence[Any], targets: Sequence[int] | None = None) -> Tensors:
        batch = self.collate_inputs(encoded)
        if targets is not None:
            batch[TARGET] = torch.tensor(targets, dtype=torch.long)
        return batch

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        target = batch[TARGET]
        logits = self.network({name: value for name, value in batch.items() if name != TARGET})
        loss = functional.cross_entropy(logits, target, reduction="none")
        return loss, _dynamics(logits.detach().float(), target)

    def predict(self, batch: Tensors) -> list[Probabilities]:
        return list(torch.softmax(self.network(batch).float(), dim=-1).cpu().numpy())

    def score(
        self,
        predictions: Sequence[Probabilities],
        labels: Sequence[str],
        contents: Sequence[str],
    ) -> pa.Table:
        indices = np.array(self.encode_labels(labels, contents), np.int64)
        return score(np.stack(predictions), indices, self.classes)

    def decode(self, predictions: Sequence[Probabilities]) -> list[str]:
        return [self.classes[int(row.argmax())] for row in predictions]


def score(
    probabilities: Probabilities, labels: npt.NDArray[np.int64], classes: Sequence[str]
) -> pa.Table:
    """Labels against predictions, as Learner.score gives them.

    probabilities: [B, C]; labels: index of the human label's class, [B].
    """
    num_rows = len(labels)
    rows = compact(probabilities, labels, num_others=NUM_OTHERS)
    return pa.table(
        {
            "row": np.arange(num_rows),
            "unit": [""] * num_rows,
            "label": [classes[index] for index in labels],
            "suggestions": _suggestions(probabilities, classes),
            LABEL_INDEX: rows.labels,
            **compact_columns(rows),
            "p_other": rows.p_others[:, 0].astype(np.float64),
            "entropy": entropy(probabilities).astype(np.float64),
            "label_rank": _label_rank(probabilities, labels),
        }
    )


def _label_rank(probabilities: Probabilities, labels: npt.NDArray[np.int64]) -> Array:
    """Rank of the human label among the classes, 1 the most probable; equals share the better."""
    p_label = probabilities[np.arange(len(labels)), labels][:, None]
    rank: Array = 1.0 + (probabilities > p_label).sum(axis=1)
    return rank


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


def _dynamics(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """p(label), and the logit margin that AUM averages (Pleiss et al. 2020, section 3): [B, 2]."""
    label = logits.gather(1, target[:, None])
    other = logits.scatter(1, target[:, None], -torch.inf).amax(dim=1, keepdim=True)
    p_label = logits.softmax(dim=1).gather(1, target[:, None])
    return torch.cat([p_label, label - other], dim=1)
