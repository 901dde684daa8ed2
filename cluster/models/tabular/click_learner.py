"""The learner of click-through rate: a network of click logits, and its scored rows. B rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from torch.nn import functional

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.tabular.cross_network import CrossNetwork
from cluster.models.tabular.features import Features, Row
from relabel_service.tables.schemas import SUGGESTION
from relabel_service.tasks.click_through_rate import CLICKED, NOT_CLICKED, read_features

TARGET = "target"
DEFAULTS = TrainingDefaults(
    epochs=8, batch_size=256, learning_rate=2e-3, weight_decay=0.05, warmup_share=0.1
)


def load(folder: Path) -> "ClickLearner":
    """An untrained learner of the features that prepare saved."""
    features = Features.load(folder)
    network = CrossNetwork(
        num_columns=len(features.columns),
        num_numbers=len(features.numbers),
        num_buckets=features.num_buckets,
    )
    return ClickLearner(network, features)


class ClickLearner(nn.Module):
    """A network that gives the logit of a click, [B], as a Learner."""

    defaults = DEFAULTS
    dynamics: tuple[str, ...] = ("p_label", "margin")
    needs_labels_to_score = False

    def __init__(self, network: nn.Module, features: Features) -> None:
        super().__init__()
        self.network = network
        self._features = features

    def encode(self, contents: Sequence[str]) -> list[Row]:
        return [self._features.encode(read_features(content)) for content in contents]

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[float]:
        return [float(label == CLICKED) for label in labels]

    def size(self, encoded: Row) -> int:
        return 1

    def collate(self, encoded: Sequence[Row], targets: Sequence[float] | None = None) -> Tensors:
        batch = {
            "buckets": torch.from_numpy(np.stack([buckets for buckets, _ in encoded])),
            "numbers": torch.from_numpy(np.stack([numbers for _, numbers in encoded])),
        }
        if targets is not None:
            batch[TARGET] = torch.tensor(targets, dtype=torch.float32)
        return batch

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        logits, target = self.network(batch).float(), batch[TARGET]
        loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        margin = logits.detach() * (2 * target - 1)
        return loss, torch.stack([torch.sigmoid(margin), margin], dim=1)

    def predict(self, batch: Tensors) -> list[float]:
        """p(click) of each row, in [0, 1]."""
        p_click: list[float] = torch.sigmoid(self.network(batch).float()).cpu().tolist()
        return p_click

    def score(
        self, predictions: Sequence[float], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        return pa.table(
            {
                "row": np.arange(len(labels)),
                "unit": [""] * len(labels),
                "label": list(labels),
                "suggestions": suggestions(predictions),
                "p_click": np.array(predictions, np.float64),
            }
        )

    def decode(self, predictions: Sequence[float]) -> list[float]:
        """p(click) of each row."""
        return list(predictions)


def suggestions(p_click: Iterable[float]) -> pa.Array:
    """Both labels of each row, the likelier first, [R]."""
    rows = [[(CLICKED, p), (NOT_CLICKED, 1 - p)] for p in map(float, p_click)]
    return pa.array(
        [
            [
                {"label": label, "probability": probability}
                for label, probability in sorted(row, key=lambda pair: -pair[1])
            ]
            for row in rows
        ],
        pa.list_(SUGGESTION),
    )
