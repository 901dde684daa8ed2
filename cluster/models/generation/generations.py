"""What any encoder-decoder generates for a row, and the Protocol of such networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from cluster.interfaces import Tensors, TrainingDefaults

NUM_BEAMS, NUM_GENERATIONS = 4, 3
TARGET = "labels"
IGNORED = -100  # a target's padding


@dataclass(frozen=True)
class Generated:
    """The best generations of one row, the likeliest first, and how likely the label is.

    likelihoods: geometric mean of the probabilities of a text's tokens, in [0, 1].
    label_likelihood: the same of the label to be scored; nan where there is none.
    """

    texts: tuple[str, ...]
    likelihoods: tuple[float, ...]
    label_likelihood: float = float("nan")


class Generator(Protocol):
    """An encoder-decoder module with the way into and out of it. B rows, T target tokens."""

    defaults: TrainingDefaults

    def encode(self, contents: Sequence[str]) -> list[Any]: ...

    def encode_labels(self, labels: Sequence[str]) -> list[list[int]]:
        """Target tokens of each row, the end token last."""

    def size(self, encoded: Any) -> int: ...

    def collate(self, encoded: Sequence[Any]) -> Tensors: ...

    def __call__(self, batch: Tensors) -> torch.Tensor:
        """Log-probability of each token of TARGET, [B, T]; 0 at the padding."""

    def generate(self, batch: Tensors) -> list[Generated]:
        """The best generations by beam search; TARGET is not looked at."""


def distinct(texts: Sequence[str], likelihoods: Sequence[float]) -> Generated:
    """Each text once (tokens may differ and spell the same), likeliest first; empty ones last."""
    best: dict[str, float] = {}
    for text, likelihood in zip(texts, likelihoods, strict=True):
        best[text] = max(likelihood, best.get(text, 0.0))
    order = sorted(best, key=lambda text: (not text.strip(), -best[text]))[:NUM_GENERATIONS]
    return Generated(tuple(order), tuple(best[text] for text in order))


def padded(rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """Token rows of any length as one tensor, [B, longest]."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row, dtype=torch.long) for row in rows],
        batch_first=True,
        padding_value=padding,
    )
