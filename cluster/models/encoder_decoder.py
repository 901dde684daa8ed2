"""Encoder-decoders of the transformers library, text to text, by hub id or local path.

The folder keeps tokenizer and configuration, so that inference needs neither hub nor path.
B rows, T target tokens, V tokens of the vocabulary.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

from cluster.models.generations import (
    IGNORED,
    NUM_BEAMS,
    NUM_GENERATIONS,
    TARGET,
    Generated,
    distinct,
)
from cluster.tasks.seam import Recipe, Tensors
from relabel_service.errors import InvalidInput

MAX_TOKENS = 512
SLACK = 1.25  # of a target, as a multiple of the sample's longest
LENGTHS_FILE = "lengths.json"
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=1e-4, warmup_share=0.1)


class EncoderDecoder(nn.Module):
    """A transformers model that reads tokens, as a Generator."""

    recipe = RECIPE

    def __init__(self, model: Any, tokenizer: Any, *, max_source: int, max_target: int) -> None:
        super().__init__()
        self.model = model
        self._tokenizer = tokenizer
        self._max_source, self._max_target = max_source, max_target

    def encode(self, contents: Sequence[str]) -> list[Any]:
        tokens: list[Any] = self._tokenizer(
            list(contents), truncation=True, max_length=self._max_source
        ).input_ids
        return tokens

    def encode_labels(self, labels: Sequence[str]) -> list[list[int]]:
        found = self._tokenizer(
            text_target=list(labels), truncation=True, max_length=self._max_target
        ).input_ids
        # The library itself puts the start token before the targets.
        start = self.model.config.decoder_start_token_id
        return [row[1:] if row[:1] == [start] else row for row in found]

    def size(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: Sequence[Any]) -> Tensors:
        padded = self._tokenizer.pad({"input_ids": list(encoded)}, return_tensors="pt")
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    def forward(self, batch: Tensors) -> torch.Tensor:
        target = batch[TARGET]
        logits = self.model(**batch).logits.float()
        told = target.clamp(min=0)[..., None]
        found = torch.log_softmax(logits, dim=-1).gather(2, told).squeeze(2)
        return found * (target != IGNORED)

    def generate(self, batch: Tensors) -> list[Generated]:
        found = self.model.generate(
            **{name: value for name, value in batch.items() if name != TARGET},
            do_sample=False,
            num_beams=NUM_BEAMS,
            num_return_sequences=NUM_GENERATIONS,
            max_new_tokens=self._max_target,
            length_penalty=1.0,  # so that a score is the mean of the tokens' log-probabilities
            early_stopping=True,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self._tokenizer.batch_decode(found.sequences, skip_special_tokens=True)
        likelihoods = found.sequences_scores.float().exp().clamp(max=1.0).cpu().tolist()
        return [
            distinct(texts[at : at + NUM_GENERATIONS], likelihoods[at : at + NUM_GENERATIONS])
            for at in range(0, len(texts), NUM_GENERATIONS)
        ]


def prepare(folder: Path, model: str, contents: Sequence[str], labels: Sequence[str]) -> None:
    """Keep tokenizer, configuration and lengths. Raises InvalidInput when it is no such model."""
    tokenizer = keep(folder, model, AutoTokenizer)
    longest = max(len(row) for row in tokenizer(list(contents)).input_ids)
    lengths = {"source": min(MAX_TOKENS, longest), "target": longest_target(tokenizer, labels)}
    (folder / LENGTHS_FILE).write_text(json.dumps(lengths))


def start(folder: Path, model: str, *, pretrained: bool) -> EncoderDecoder:
    """With the model's own weights where `pretrained`, else with fresh ones."""
    config = AutoConfig.from_pretrained(folder)
    network = (
        AutoModelForSeq2SeqLM.from_pretrained(model, config=config)
        if pretrained
        else AutoModelForSeq2SeqLM.from_config(config)  # type: ignore[no-untyped-call]
    )
    lengths = json.loads((folder / LENGTHS_FILE).read_text())
    longest = getattr(config, "max_position_embeddings", MAX_TOKENS)
    return EncoderDecoder(
        network,
        AutoTokenizer.from_pretrained(folder),
        max_source=min(longest, lengths["source"]),
        max_target=min(longest, lengths["target"]),
    )


def keep(folder: Path, model: str, *parts: Any) -> Any:
    """Write the model's configuration and other parts (tokenizer, processor); the last of them."""
    try:
        config = AutoConfig.from_pretrained(model)
        found = [part.from_pretrained(model) for part in parts]
    except (OSError, ValueError) as error:
        raise InvalidInput.of(
            "model", f"{model!r} is no model by hub id or local path: {error}"
        ) from None
    if not config.is_encoder_decoder:
        raise InvalidInput.of(
            "model", f"{model!r} ({config.model_type}) has no decoder; use one like T5 or BART"
        )
    for part in (config, *found):
        part.save_pretrained(folder)
    return found[-1]


def longest_target(tokenizer: Any, labels: Sequence[str]) -> int:
    longest = max(len(row) for row in tokenizer(text_target=list(labels)).input_ids)
    return min(MAX_TOKENS, int(SLACK * longest) + 1)
