"""The built-in text model: hashed n-grams, weighted by rarity, into one linear layer.

Trains from nothing in seconds on a CPU core, in any language that has words or
characters; close to Joulin et al. 2017 (fastText) with idf weights (Wang and
Manning 2012 found such linear models hard to beat on short texts).
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.class_learner import ClassLearner

NUM_BUCKETS = 2**17
CHARACTERS = (2, 3, 4, 5)  # lengths of character n-grams, within words
WORDS = (1, 2)  # lengths of word n-grams
BLOCKS = (0.5, 1.0)  # length of the word and of the character part, before both become one unit
IDF_FILE = "idf.npy"
DEFAULTS = TrainingDefaults(epochs=6, batch_size=64, learning_rate=0.02, weight_decay=0.0)

Encoded = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # buckets, weights; [n-grams]


class NGramClassifier(nn.Module):
    """Logits [B, C] of a weighted bag of n-grams."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weights = nn.EmbeddingBag(NUM_BUCKETS, num_classes, mode="sum")
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, batch: Tensors) -> torch.Tensor:
        bag: torch.Tensor = self.weights(
            batch["buckets"], batch["offsets"], per_sample_weights=batch["weights"]
        )
        return bag + self.bias


def prepare(folder: Path, contents: Sequence[str]) -> None:
    """Write each bucket's inverse document frequency in a sample of texts: float32 [NUM_BUCKETS].

    A bucket of one text alone gets 0: it could only help to remember that text.
    """
    seen = np.zeros(NUM_BUCKETS, np.float32)
    for content in contents:
        seen[list({bucket for block in _buckets(content) for bucket in block})] += 1
    idf = np.log((1 + len(contents)) / (1 + seen)) + 1
    np.save(folder / IDF_FILE, np.where(seen > 1, idf, 0).astype(np.float32))


def load(folder: Path, classes: Sequence[str]) -> ClassLearner:
    """An untrained learner."""
    idf = np.load(folder / IDF_FILE)

    def encode(contents: Sequence[str]) -> list[Encoded]:
        return [_encode(content, idf) for content in contents]

    return ClassLearner(
        NGramClassifier(len(classes)),
        classes=classes,
        defaults=DEFAULTS,
        encode=encode,
        collate=_collate,
        size=lambda encoded: len(encoded[0]),
    )


def _encode(content: str, idf: npt.NDArray[np.float32]) -> Encoded:
    """Unit vector of the content's n-grams; words and characters weigh as BLOCKS say."""
    buckets, weights = [], []
    for block, share in zip(_buckets(content), BLOCKS, strict=True):
        counts = Counter(block)
        places = np.fromiter(counts, np.int64, len(counts))
        frequency = np.fromiter(counts.values(), np.float32, len(counts))
        values = (1 + np.log(frequency)) * idf[places]
        buckets.append(places)
        weights.append(share * values / max(float(np.linalg.norm(values)), 1e-12))
    joined = np.concatenate(weights)
    unit = joined / max(float(np.linalg.norm(joined)), 1e-12)
    return np.concatenate(buckets), unit.astype(np.float32)


def _collate(encoded: Sequence[Encoded]) -> Tensors:
    sizes = [len(buckets) for buckets, _ in encoded]
    return {
        "buckets": torch.from_numpy(np.concatenate([buckets for buckets, _ in encoded])),
        "weights": torch.from_numpy(np.concatenate([weights for _, weights in encoded])),
        "offsets": torch.from_numpy(np.cumsum([0, *sizes[:-1]])),
    }


def _buckets(content: str) -> tuple[list[int], list[int]]:
    """Buckets of the content's word n-grams, and of its character n-grams."""
    words = re.findall(r"\w+|[^\w\s]", content.lower()) or [content]
    return [_bucket("w " + gram) for gram in _word_grams(words)], [
        _bucket(gram) for word in words for gram in _character_grams(f"<{word}>")
    ]


def _bucket(gram: str) -> int:
    return zlib.crc32(gram.encode("utf-8", "surrogatepass")) % NUM_BUCKETS


def _word_grams(words: Sequence[str]) -> Iterator[str]:
    for length in WORDS:
        for at in range(len(words) - length + 1):
            yield " ".join(words[at : at + length])


def _character_grams(word: str) -> Iterator[str]:
    for length in CHARACTERS:
        for at in range(len(word) - length + 1):
            yield word[at : at + length]
