"""Sequence generation: what the model would write, and how far a label is from it.

A label may differ from the best generation and be right all the same; the model's own
likelihood of the label allows for that, distances between texts do not. All are
signals; suspicion is one minus that likelihood. On real errors it did better than its margin to
the best generation's (average precision 0.49 against 0.48 on meaning representations) and than
every distance there (0.47 at best); on pronunciations all were about alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.chrf import CHRF

from cluster.interfaces import Array, Ensemble, PredictionForm
from cluster.models.generation import attention_gru
from cluster.models.generation import pretrained as pretrained_generator
from cluster.models.generation.sequence_learner import UNLIKELIHOOD, SequenceLearner
from cluster.scores import tokenizers
from cluster.scores.text_distance import DISTANCES, corpus_bleu, tokens
from cluster.tasks.defaults import ShownAsScored
from relabel_service.errors import InvalidInput
from relabel_service.tasks.sequence_generation import is_sound

TOKENIZER_NAME_FILE = "tokenize.txt"
SHOWN = 60  # characters of a generation in a reason


class SequenceGenerationModels(ShownAsScored):
    name = "sequence_generation"
    ranking_signals: tuple[str, ...] = (*DISTANCES, UNLIKELIHOOD)
    ensemble: Ensemble | None = None
    predictions: PredictionForm | None = None

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

    def prepare_tokenizer(self, folder: Path, asked: str | None, labels: Sequence[str]) -> str:
        tokenize = tokenizers.choose(asked, labels)
        (folder / TOKENIZER_NAME_FILE).write_text(tokenize)
        return tokenize

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> SequenceLearner:
        name = folder / TOKENIZER_NAME_FILE
        tokenize = name.read_text() if name.exists() else tokenizers.SPACED
        if model is None:
            return SequenceLearner(attention_gru.load(folder), tokenize)
        generator = pretrained_generator.load(folder, model, pretrained=pretrained)
        return SequenceLearner(generator, tokenize)

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        return {}

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """One minus the geometric mean of the probabilities of the label's tokens, in [0, 1]."""
        suspicion: Array = np.clip(scored[UNLIKELIHOOD].to_numpy(), 0.0, 1.0)
        return suspicion

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        return {
            name: scored[name].to_numpy() for name in (*self.ranking_signals, "best_likelihood")
        }

    def noise_matrix(self, sums: Mapping[str, Array]) -> None:
        """None: a label is a text."""

    def reasons(self, scored: pa.Table) -> list[str]:
        return [
            _reason(row["suggestions"], 1 - row[UNLIKELIHOOD])
            for row in scored.select(["suggestions", UNLIKELIHOOD]).to_pylist()
        ]

    def metrics(
        self, predicted: Sequence[str], labels: Sequence[str], *, tokenize: str = ""
    ) -> dict[str, float]:
        """Corpus BLEU and chrF in [0, 1]; one minus the token error rate; texts exactly right."""
        written, true = list(predicted), list(labels)
        tokenize = tokenize or tokenizers.by_script(true)
        edits = sum(
            Levenshtein.distance(tokens(text), tokens(label))
            for text, label in zip(written, true, strict=True)
        )
        num_tokens = sum(len(tokens(label)) for label in true)
        return {
            "bleu": corpus_bleu(written, true, tokenize=tokenize),
            "chrf": CHRF().corpus_score(written, [true]).score / 100,
            "token_accuracy": max(0.0, 1.0 - edits / max(num_tokens, 1)),
            "exact_match": float(np.mean([a == b for a, b in zip(written, true, strict=True)])),
        }


def _reason(suggestions: Sequence[Mapping[str, Any]], label_likelihood: float) -> str:
    likelihood = f"gives the label {label_likelihood:.0%} a token"
    if not suggestions:
        return f"model writes nothing, {likelihood}"
    best = suggestions[0]
    return (
        f"model writes {best['label'][:SHOWN]!r} ({best['probability']:.0%} a token), {likelihood}"
    )
