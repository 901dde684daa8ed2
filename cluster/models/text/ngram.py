"""The built-in text model: hashed n-grams, weighted by rarity, into one linear layer.

Trains from nothing in seconds on a CPU core, in any language that has words or
characters; close to Joulin et al. 2017 (fastText) with idf weights (Wang and
Manning 2012 found such linear models hard to beat on short texts).
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csc_array
from torch import nn
from torch.nn import functional

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.class_learner import ClassLearner
from cluster.models.text.hashed_ngrams import NUM_BUCKETS, Counts, count_ngrams, is_first

BLOCKS = (0.5, 1.0)  # length of the word and of the character part, before both become one unit
TINY = 1e-12  # instead of a length of 0, which would be divided by
IDF_FILE, TRAINING_FILE = "idf.npy", "training.json"
LONG = 1000  # different n-grams of a text, on average, from which on texts are long
MOST_TEXTS = 0.5  # share of long texts; an n-gram of more of them has no weight
DEFAULTS = TrainingDefaults(
    epochs=6,
    batch_size=128,
    learning_rate=0.025,
    weight_decay=0.0,
    max_gradient_norm=None,  # a row is a unit vector: its gradient is at most 2 long
)
# Where texts are many, time counts. Wrong labels of short ones rank no worse than by 6 epochs
# (audit.md in bench/results), in two thirds of the time; 4 fit long texts too little.
MANY, MANY_SHORT = 1000, {"epochs": 4, "learning_rate": 0.03}

Encoded = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]  # features, weights; [n-grams]


class NGramClassifier(nn.Module):
    """Logits [B, C] of a weighted bag of n-grams."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weights = nn.EmbeddingBag(num_features, num_classes, mode="sum")
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, batch: Tensors) -> torch.Tensor:
        features, offsets, counts = batch["features"], batch["offsets"], batch["weights"]
        bag: torch.Tensor
        if features.is_cuda:
            bag = self.weights(features, offsets, per_sample_weights=counts)
        else:
            bag = _Bag.apply(self.weights.weight, features, offsets, counts)  # type: ignore[no-untyped-call]
        return bag + self.bias


class _Bag(torch.autograd.Function):
    """embedding_bag with a gradient by a sparse product: on a CPU core, torch's own (2.13) takes
    ten times as long where a batch has few of many features, and is then half of a training."""

    @staticmethod
    def forward(
        ctx: Any,
        table: torch.Tensor,
        features: torch.Tensor,
        offsets: torch.Tensor,
        counts: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(features, offsets, counts)
        ctx.num_features = len(table)
        return functional.embedding_bag(
            features, table, offsets, mode="sum", per_sample_weights=counts
        )

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        [gradient] = gradients
        features, offsets, counts = (saved.numpy() for saved in ctx.saved_tensors)
        bags = csc_array(
            (counts, features, np.append(offsets, len(features))),
            shape=(ctx.num_features, len(offsets)),
        )
        return torch.from_numpy(bags @ gradient.numpy()), None, None, None


def prepare(folder: Path, contents: Sequence[str]) -> None:
    """Write each bucket's inverse document frequency in a sample of texts, float32 [NUM_BUCKETS],
    and the training defaults that suit such texts.

    A bucket of one text alone gets 0: it could only help to remember that text. So does one that
    most texts have, where they are many and long: a quarter of their n-grams are such, and say
    least.
    """
    seen, num_ngrams = np.zeros(NUM_BUCKETS, np.int64), 0
    for counts in count_ngrams(contents):
        text = np.repeat(np.arange(len(counts.starts) // 2), np.diff(counts.starts[::2]))
        keys = np.sort(text * NUM_BUCKETS + counts.bucket)  # np.unique took 20 times as long
        once = keys[is_first(keys)]  # words and characters may share a bucket
        seen += np.bincount(once % NUM_BUCKETS, minlength=NUM_BUCKETS)
        num_ngrams += len(counts.bucket)
    is_many, is_long = len(contents) >= MANY, num_ngrams >= LONG * len(contents)
    most = len(contents) * (MOST_TEXTS if is_many and is_long else 1)
    idf = np.log((1 + len(contents)) / (1 + seen)) + 1
    is_used = (seen > 1) & (seen <= most)
    np.save(folder / IDF_FILE, np.where(is_used, idf, 0).astype(np.float32))
    training = MANY_SHORT if is_many and not is_long else {}
    (folder / TRAINING_FILE).write_text(json.dumps(training))


def load(folder: Path, classes: Sequence[str]) -> ClassLearner:
    """An untrained learner. Buckets without an idf have no weight: they would stay at 0."""
    chosen = folder / TRAINING_FILE  # trainings of earlier releases have none
    training = json.loads(chosen.read_text()) if chosen.exists() else {}
    idf = np.load(folder / IDF_FILE)
    used = np.flatnonzero(idf)
    feature_of = np.full(NUM_BUCKETS, -1, np.int32)
    feature_of[used] = np.arange(len(used))

    def encode(contents: Sequence[str]) -> list[Encoded]:
        return [
            row for counts in count_ngrams(contents) for row in _encode(counts, idf, feature_of)
        ]

    return ClassLearner(
        NGramClassifier(max(len(used), 1), len(classes)),
        classes=classes,
        defaults=replace(DEFAULTS, **training),
        encode=encode,
        collate=_collate,
        size=lambda encoded: len(encoded[0]),
    )


def _encode(
    counts: Counts, idf: npt.NDArray[np.float32], feature_of: npt.NDArray[np.int32]
) -> list[Encoded]:
    """Unit vector of each text's n-grams; words and characters weigh as BLOCKS say.

    The rows are views of the batch's arrays. Sums are of one text's values alone and in float64,
    so that a text has the same weights whatever is beside it.
    """
    features = feature_of[counts.bucket]
    is_used = features >= 0
    ends = np.concatenate([[0], np.cumsum(is_used)])
    starts = ends[counts.starts]  # of the used n-grams alone
    features, bucket, count = features[is_used], counts.bucket[is_used], counts.count[is_used]
    values = (1 + np.log(count)) * idf[bucket].astype(np.float64)
    lengths = np.sqrt(_sums(values * values, starts)).reshape(-1, len(BLOCKS))
    shares = np.array(BLOCKS) / np.maximum(lengths, TINY)
    whole = np.sqrt(((lengths * shares) ** 2).sum(axis=1, keepdims=True))
    scales = (shares / np.maximum(whole, TINY)).ravel()
    weights = (values * np.repeat(scales, np.diff(starts))).astype(np.float32)
    cuts = starts[::2].tolist()
    return [(features[start:end], weights[start:end]) for start, end in pairwise(cuts)]


def _sums(
    values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The sum of each segment starts[i]:starts[i + 1], 0 for an empty one."""
    sums = np.zeros(len(starts) - 1)
    filled = np.diff(starts) > 0
    if filled.any():  # reduceat gives an empty segment the next one's first value
        sums[filled] = np.add.reduceat(values, starts[:-1][filled])
    return sums


def _collate(encoded: Sequence[Encoded]) -> Tensors:
    sizes = [len(features) for features, _ in encoded]
    return {
        "features": torch.from_numpy(np.concatenate([features for features, _ in encoded])),
        "weights": torch.from_numpy(np.concatenate([weights for _, weights in encoded])),
        "offsets": torch.from_numpy(np.cumsum([0, *sizes[:-1]], dtype=np.int32)),
    }
