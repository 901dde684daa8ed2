"""Sequence generation: what the model would write, and how far a label is from it.

A label may differ from the best generation and be right all the same; the model's own
likelihood of the label allows for that, distances between texts do not. All are
signals; suspicion is one minus that likelihood. On real errors it did better than its margin to
the best generation's (average precision 0.49 against 0.48 on meaning representations) and than
every distance there (0.47 at best); on pronunciations all were about alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import nn

from cluster.interfaces import Array, Tensors
from cluster.models.generation import attention_gru
from cluster.models.generation import pretrained as pretrained_generator
from cluster.models.generation.generations import IGNORED, TARGET, Generated, Generator, padded
from cluster.tasks.shingles import shingles, words_alone
from cluster.tasks.text_distance import DISAGREEMENTS, tokens
from relabel_service.errors import InvalidInput
from relabel_service.tables.schemas import SUGGESTION
from relabel_service.tasks.sequence_generation import is_sound

UNLIKELIHOOD = "label_unlikelihood"
SHOWN = 60  # characters of a generation in a reason


class SequenceLearner(nn.Module):
    """A Generator as a Learner, which also weighs the label (seam.WeighsLabels)."""

    observed: tuple[str, ...] = ("label_likelihood", "weakest_token")

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
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
        found = self.generator(batch)
        mean = _mean(found, batch)
        told = found.detach()
        return -mean, torch.stack([mean.detach().exp(), told.amin(dim=1).exp()], dim=1)

    def predict(self, batch: Tensors) -> list[Generated]:
        return self.generator.generate(batch)

    def predict_given(self, batch: Tensors) -> list[Generated]:
        likelihoods = _mean(self.generator(batch), batch).exp().cpu().tolist()
        return [
            replace(one, label_likelihood=likelihood)
            for one, likelihood in zip(self.generator.generate(batch), likelihoods, strict=True)
        ]

    def score(
        self, predictions: Sequence[Generated], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        pairs = list(zip(labels, predictions, strict=True))
        columns = {
            name: np.array([distance(label, one.texts[0]) for label, one in pairs])
            for name, distance in DISAGREEMENTS.items()
        }
        return pa.table(
            {
                "row": np.arange(len(labels)),
                "unit": [""] * len(labels),
                "label": list(labels),
                "suggestions": pa.array(
                    [_suggestions(one) for one in predictions], pa.list_(SUGGESTION)
                ),
                **columns,
                UNLIKELIHOOD: np.array([1.0 - one.label_likelihood for one in predictions]),
                "best_likelihood": np.array([one.likelihoods[0] for one in predictions]),
            }
        )

    def answers(self, predictions: Sequence[Generated]) -> list[str]:
        return [one.texts[0] for one in predictions]


class SequenceGenerationModels:
    name = "sequence_generation"
    disagreements: tuple[str, ...] = (*DISAGREEMENTS, UNLIKELIHOOD)

    def shingles(self, content: str) -> Iterable[bytes] | None:
        """Runs of 5 characters, letter case and everything but words set aside; of texts alone."""
        if is_sound(content):
            return None
        return shingles(words_alone(content))

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        if model is None and is_sound(contents[0]):
            raise InvalidInput.of(
                "model", "is not given, but the built-in cannot read sounds; use one like Whisper"
            )
        if model is None:
            attention_gru.prepare(folder, contents, labels)
        else:
            pretrained_generator.prepare(folder, model, contents, labels)

    def start(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> SequenceLearner:
        if model is None:
            return SequenceLearner(attention_gru.start(folder))
        return SequenceLearner(pretrained_generator.start(folder, model, pretrained=pretrained))

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        return {}

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """One minus the geometric mean of the probabilities of the label's tokens, in [0, 1]."""
        doubt: Array = np.clip(scored[UNLIKELIHOOD].to_numpy(), 0.0, 1.0)
        return doubt

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        return {name: scored[name].to_numpy() for name in (*self.disagreements, "best_likelihood")}

    def reasons(self, scored: pa.Table) -> list[str]:
        return [
            _reason(row["suggestions"], 1 - row[UNLIKELIHOOD])
            for row in scored.select(["suggestions", UNLIKELIHOOD]).to_pylist()
        ]

    def metrics(self, answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
        """Corpus BLEU and chrF in [0, 1]; one minus the token error rate; texts exactly right."""
        answered, true = list(answers), list(labels)
        edits = sum(
            Levenshtein.distance(tokens(answer), tokens(label))
            for answer, label in zip(answered, true, strict=True)
        )
        num_tokens = sum(len(tokens(label)) for label in true)
        return {
            "bleu": BLEU().corpus_score(answered, [true]).score / 100,
            "chrf": CHRF().corpus_score(answered, [true]).score / 100,
            "token_accuracy": max(0.0, 1.0 - edits / max(num_tokens, 1)),
            "exact_match": float(np.mean([a == b for a, b in zip(answered, true, strict=True)])),
        }


def _mean(found: torch.Tensor, batch: Tensors) -> torch.Tensor:
    """Mean log-probability of a target's tokens, [B]."""
    return found.sum(dim=1) / (batch[TARGET] != IGNORED).sum(dim=1).clamp(min=1)


def _suggestions(one: Generated) -> list[dict[str, Any]]:
    """Generations that a person could choose: not the empty text."""
    return [
        {"label": text, "probability": likelihood}
        for text, likelihood in zip(one.texts, one.likelihoods, strict=True)
        if text.strip()
    ]


def _reason(suggestions: Sequence[Mapping[str, Any]], label_likelihood: float) -> str:
    told = f"gives the label {label_likelihood:.0%} a token"
    if not suggestions:
        return f"model writes nothing, {told}"
    best = suggestions[0]
    return f"model writes {best['label'][:SHOWN]!r} ({best['probability']:.0%} a token), {told}"
