"""The built-in tagger: features of words, widened by convolutions over their neighbours.

A token is the mean of the embeddings of its word, its character n-grams, its shape and
its neighbours' words (Bojanowski et al. 2017 embed sub-words so); a few dilated
convolutions let tokens see each other (Strubell et al. 2017). A feature that occurs
once could only learn its one label by heart, wrong ones too, so it is left out. Trains
from nothing in minutes on a CPU core, whether tokens are words or single characters.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.tagging.tag_learner import MASK, TagLearner

MAX_FEATURES = 50_000
FILE = "features.json"
UNKNOWN = 0  # index of the feature that every token has
WIDTH = 64
CHARACTERS = (2, 3, 4)  # lengths of character n-grams, within words
DILATIONS = (1, 2, 4)
DROPOUT = 0.4
DEFAULTS = TrainingDefaults(
    epochs=15, batch_size=16, learning_rate=3e-3, weight_decay=0.01, warmup_share=0.1
)

Encoded = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]  # features; how many a token has


def prepare(folder: Path, contents: Sequence[str]) -> None:
    """Write the features that occur more than once in a sample, the commonest first."""
    counts: Counter[str] = Counter()
    for content in contents:
        tokens = json.loads(content)
        for index in range(len(tokens)):
            # In order: where counts are equal a set's order, so the model, would differ by process.
            counts.update(dict.fromkeys(_features(tokens, index), 1))
    common = [name for name, count in counts.most_common(MAX_FEATURES) if count > 1]
    (folder / FILE).write_text(json.dumps(common))


def load(folder: Path, classes: Sequence[str]) -> TagLearner:
    """An untrained learner."""
    names = json.loads((folder / FILE).read_text())
    feature_index = {name: index for index, name in enumerate(names, UNKNOWN + 1)}
    return TagLearner(
        ConvTagger(UNKNOWN + 1 + len(feature_index), 1 + 2 * len(classes)),
        classes=classes,
        defaults=DEFAULTS,
        encode=lambda contents: [
            _encode(json.loads(content), feature_index) for content in contents
        ],
        collate=_collate,
        size=lambda encoded: len(encoded[1]),
    )


class ConvTagger(nn.Module):
    """Logits [B, T, G]. What a row gets does not depend on the rows beside it."""

    def __init__(self, num_features: int, num_tags: int) -> None:
        super().__init__()
        self.features = nn.EmbeddingBag(num_features, WIDTH, mode="mean")
        self.dropout = nn.Dropout(DROPOUT)
        self.layers = nn.ModuleList(
            nn.Conv1d(WIDTH, 2 * WIDTH, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in DILATIONS)
        self.head = nn.Linear(WIDTH, num_tags)
        nn.init.normal_(self.features.weight, std=0.3)

    def forward(self, batch: Tensors) -> torch.Tensor:
        mask = batch[MASK]
        bags = self.features(batch["features"], batch["offsets"])
        tokens = bags.new_zeros(*mask.shape, WIDTH).masked_scatter(mask[..., None], bags)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            seen = layer(self.dropout(tokens).transpose(1, 2)).transpose(1, 2)
            tokens = norm(tokens + nn.functional.glu(seen)) * mask[..., None]
        logits: torch.Tensor = self.head(self.dropout(tokens))
        return logits


def _encode(tokens: Sequence[str], feature_index: Mapping[str, int]) -> Encoded:
    by_token = [
        [UNKNOWN, *(feature_index[name] for name in _features(tokens, at) if name in feature_index)]
        for at in range(len(tokens))
    ]
    flat = [feature for features in by_token for feature in features]
    counts = np.array([len(features) for features in by_token], np.int32)
    return np.array(flat, np.int32), counts


def _collate(encoded: Sequence[Encoded]) -> Tensors:
    counts = np.concatenate([counts for _, counts in encoded])
    lengths = torch.tensor([len(counts) for _, counts in encoded])
    return {
        "features": torch.from_numpy(np.concatenate([features for features, _ in encoded])).long(),
        "offsets": torch.from_numpy(np.cumsum(counts) - counts).long(),
        MASK: torch.arange(int(lengths.max())) < lengths[:, None],
    }


def _features(tokens: Sequence[str], at: int) -> Iterator[str]:
    word = tokens[at]
    before = tokens[at - 1] if at else "<s>"
    after = tokens[at + 1] if at + 1 < len(tokens) else "</s>"
    yield f"w {word}"
    yield f"l {word.lower()}"
    yield f"s {_shape(word)}"
    yield f"b {before} {word}"
    yield f"a {word} {after}"
    marked = f"<{word}>"
    for length in CHARACTERS:
        for start in range(len(marked) - length + 1):
            yield marked[start : start + length]


def _shape(word: str) -> str:
    """Runs of capitals, small letters and digits as one sign each: Xx, 0-0."""
    signs = "".join(
        "X" if sign.isupper() else "x" if sign.isalpha() else "0" if sign.isdigit() else sign
        for sign in word
    )
    return re.sub(r"(.)\1+", r"\1", signs)
