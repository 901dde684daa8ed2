"""The learner of sequence generation: any encoder-decoder, and its scored rows.

B rows, T tokens of the longest target.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from cluster.interfaces import Tensors
from cluster.models.generation.generations import IGNORED, TARGET, Generated, Generator, padded
from cluster.scores import tokenizers
from cluster.scores.text_distance import distances
from relabel_service.tables.schemas import SUGGESTION

UNLIKELIHOOD = "label_unlikelihood"


class SequenceLearner(nn.Module):
    """A Generator as a Learner, whose predictions also hold the likelihood of the label."""

    dynamics: tuple[str, ...] = ("label_likelihood", "weakest_token")
    needs_labels_to_score = True

    def __init__(self, generator: Generator, tokenize: str = tokenizers.SPACED) -> None:
        """tokenize: BLEU's tokenizer."""
        super().__init__()
        self.generator = generator
        self._distances = distances(tokenize)
        self.defaults = generator.defaults

    def encode(self, contents: Sequence[str]) -> list[Any]:
        return self.generator.encode(contents)

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[list[int]]:
        return self.generator.encode_labels(labels)

    def size(self, encoded: Any) -> int:
        return self.generator.size(encoded)

    def collate(
        self, encoded: Sequence[Any], targets: Sequence[Sequence[int]] | None = None
    ) -> Tensors:
        batch = self.generator.collate(encoded)
        if targets is not None:
            batch[TARGET] = padded(targets, IGNORED)
        return batch

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss: mean over the target's tokens, so that long targets do not count for more."""
        token_log_p = self.generator(batch)
        mean_log_p = _mean(token_log_p, batch)
        weakest = token_log_p.detach().amin(dim=1).exp()
        return -mean_log_p, torch.stack([mean_log_p.detach().exp(), weakest], dim=1)

    def predict(self, batch: Tensors) -> list[Generated]:
        """The best generations; with targets in the batch also the labels' likelihoods."""
        if TARGET not in batch:
            return self.generator.generate(batch)
        likelihoods = _mean(self.generator(batch), batch).exp().cpu().tolist()
        return [
            replace(generated, label_likelihood=likelihood)
            for generated, likelihood in zip(
                self.generator.generate(batch), likelihoods, strict=True
            )
        ]

    def score(
        self, predictions: Sequence[Generated], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        """Distances of each label to the best generation, and its own unlikelihood."""
        pairs = list(zip(labels, predictions, strict=True))
        measured = {
            name: np.array([distance(label, generated.texts[0]) for label, generated in pairs])
            for name, distance in self._distances.items()
        }
        return pa.table(
            {
                "row": np.arange(len(labels)),
                "unit": [""] * len(labels),
                "label": list(labels),
                "suggestions": pa.array(
                    [_suggestions(generated) for generated in predictions], pa.list_(SUGGESTION)
                ),
                **measured,
                UNLIKELIHOOD: np.array([1.0 - one.label_likelihood for one in predictions]),
                "best_likelihood": np.array([one.likelihoods[0] for one in predictions]),
            }
        )

    def decode(self, predictions: Sequence[Generated]) -> list[str]:
        """The likeliest text of each row."""
        return [generated.texts[0] for generated in predictions]


def _mean(token_log_p: torch.Tensor, batch: Tensors) -> torch.Tensor:
    """Mean log-probability of a target's tokens: [B, T] -> [B]."""
    return token_log_p.sum(dim=1) / (batch[TARGET] != IGNORED).sum(dim=1).clamp(min=1)


def _suggestions(generated: Generated) -> list[dict[str, Any]]:
    """Generations that a person could choose: not the empty text."""
    return [
        {"label": text, "probability": likelihood}
        for text, likelihood in zip(generated.texts, generated.likelihoods, strict=True)
        if text.strip()
    ]
