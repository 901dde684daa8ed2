"""Taggers of the transformers library, by id or path: sub-words aligned, long rows windowed.

B rows, T tokens of the longest row, W windows of all rows together, S sub-words a window.
A token goes by its first sub-word, in the one window that shows most on both sides of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.pretrained import LOADING_ERRORS, Logits, classifier, max_tokens, tokenizer_of
from cluster.models.tagging import tags
from cluster.models.tagging.tag_learner import MASK, TagLearner
from relabel_service.errors import InvalidInput

SHARED = 4  # a window shares one part in so many with the window before
DEFAULTS = TrainingDefaults(epochs=5, batch_size=16, learning_rate=5e-5, warmup_share=0.1)


@dataclass(frozen=True)
class Windows:
    """subwords: ids of each window of a row. position: window and index of each token, [T, 2]."""

    subwords: list[list[int]]
    position: npt.NDArray[np.int64]


def prepare(folder: Path, model: str) -> None:
    """Keep the tokenizer and configuration, so that inference needs neither hub nor path."""
    try:
        tokenizer = _tokenizer(model)
        config = AutoConfig.from_pretrained(model)
        if type(config) not in AutoModelForTokenClassification._model_mapping:
            raise ValueError(f"a {config.model_type} does not tag tokens")
        if not tokenizer.is_fast:
            raise ValueError("its tokenizer does not know which word a sub-word is of")
    except LOADING_ERRORS as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a tagger by hub id or local path: {error}"
        ) from None
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)


def load(folder: Path, model: str, *, classes: Sequence[str], pretrained: bool) -> TagLearner:
    """A learner; with the model's own weights where `pretrained` (see classifier)."""
    tokenizer = _tokenizer(folder)
    config = AutoConfig.from_pretrained(folder, num_labels=1 + 2 * len(classes))
    network = classifier(
        AutoModelForTokenClassification,
        config,
        model,
        outputs=tags.names(classes),
        pretrained=pretrained,
    )
    longest = max_tokens(tokenizer, network)

    def collate(encoded: Sequence[Windows]) -> Tensors:
        windows = [window for row in encoded for window in row.subwords]
        padded = tokenizer.pad({"input_ids": windows}, return_tensors="pt")
        first = np.cumsum([0, *(len(row.subwords) for row in encoded[:-1])])
        lengths = torch.tensor([len(row.position) for row in encoded])
        positions = torch.zeros(len(encoded), int(lengths.max()), 2, dtype=torch.long)
        for number, row in enumerate(encoded):
            offset = torch.tensor([first[number], 0])
            positions[number, : len(row.position)] = torch.from_numpy(row.position) + offset
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "positions": positions,
            MASK: torch.arange(positions.shape[1]) < lengths[:, None],
        }

    return TagLearner(
        _TokenLogits(network),
        classes=classes,
        defaults=DEFAULTS,
        encode=lambda contents: [_encode(tokenizer, json.loads(c), longest) for c in contents],
        collate=collate,
        size=lambda row: sum(map(len, row.subwords)),
    )


class _TokenLogits(nn.Module):
    """Logits of windows [W, S, G] -> logits of tokens [B, T, G]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.windows = Logits(model)

    def forward(self, batch: Tensors) -> torch.Tensor:
        logits: torch.Tensor = self.windows(
            {name: batch[name] for name in ("input_ids", "attention_mask")}
        )
        window, index = batch["positions"].unbind(dim=-1)
        return logits[window, index]


def _encode(tokenizer: Any, tokens: list[str], longest: int) -> Windows:
    encoding = tokenizer(
        _visible(tokenizer, tokens),
        is_split_into_words=True,
        truncation=True,
        max_length=longest,
        stride=longest // SHARED,
        return_overflowing_tokens=True,
    )
    positions = np.zeros((len(tokens), 2), np.int64)
    context = np.full(len(tokens), -1)  # sub-words on the shorter side of each token, as yet
    for window, subwords in enumerate(encoding.input_ids):
        word_ids = encoding.word_ids(window)
        for index, word in enumerate(word_ids):
            if word is None or (index and word_ids[index - 1] == word):
                continue
            shown = min(index, len(subwords) - 1 - index)
            if shown > context[word]:
                context[word], positions[word] = shown, (window, index)
    return Windows(list(encoding.input_ids), positions)


def _visible(tokenizer: Any, tokens: list[str]) -> list[str]:
    """The tokens; unknown ones for those that have no sub-word (a space, a control sign)."""
    seen = {
        word
        for word in tokenizer(tokens, is_split_into_words=True, truncation=False).word_ids()
        if word is not None
    }
    if len(seen) == len(tokens):
        return tokens
    stand_in = tokenizer.unk_token or "?"
    return [token if index in seen else stand_in for index, token in enumerate(tokens)]


def _tokenizer(model: str | Path) -> Any:
    """add_prefix_space: byte-level tokenizers take words only so; others know no such setting."""
    return tokenizer_of(model, add_prefix_space=True)
