"""Encoder-decoders of the transformers library by hub id or local path.

Text to text (T5, BART, ...) or speech to text (Whisper, ...), as the model's kind is. The
folder keeps tokenizer and configuration, so that inference needs neither hub nor path.
B rows, T target tokens, V tokens of the vocabulary.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    AutoTokenizer,
    GenerationMixin,
)

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.generation.generations import (
    IGNORED,
    NUM_BEAMS,
    NUM_GENERATIONS,
    TARGET,
    Generated,
    distinct,
)
from cluster.models.generation.sources import SoundSource, TextSource
from relabel_service.errors import InvalidInput
from relabel_service.tasks.sequence_generation import is_sound

MAX_TOKENS = 512
SLACK = 1.25  # of a target, as a multiple of the sample's longest
LENGTHS_FILE = "lengths.json"
DEFAULTS = TrainingDefaults(epochs=3, batch_size=16, learning_rate=1e-4, warmup_share=0.1)


class EncoderDecoder(nn.Module):
    """A transformers model as a Generator."""

    defaults = DEFAULTS

    def __init__(
        self, model: Any, tokenizer: Any, source: TextSource | SoundSource, *, max_target: int
    ) -> None:
        super().__init__()
        self.model = model
        self._tokenizer, self._source = tokenizer, source
        self._max_target = max_target

    def encode(self, contents: Sequence[str]) -> list[Any]:
        return [*self._source.encode(contents)]

    def encode_labels(self, labels: Sequence[str]) -> list[list[int]]:
        tokens = self._tokenizer(
            text_target=list(labels), truncation=True, max_length=self._max_target
        ).input_ids
        # The library itself puts the start token before the targets.
        start = self.model.config.decoder_start_token_id
        return [row[1:] if row[:1] == [start] else row for row in tokens]

    def size(self, encoded: Any) -> int:
        return self._source.size(encoded)

    def collate(self, encoded: Sequence[Any]) -> Tensors:
        return self._source.collate(encoded)

    def forward(self, batch: Tensors) -> torch.Tensor:
        target = batch[TARGET]
        logits = self.model(**batch).logits.float()
        log_p = torch.log_softmax(logits, dim=-1)
        token_log_p = log_p.gather(2, target.clamp(min=0)[..., None]).squeeze(2)
        return token_log_p * (target != IGNORED)

    def generate(self, batch: Tensors) -> list[Generated]:
        inputs: dict[str, Any] = {name: batch[name] for name in batch if name != TARGET}
        # Not model.generate: Whisper's own cuts sounds up and returns other scores.
        generated: Any = GenerationMixin.generate(
            self.model,
            **inputs,
            do_sample=False,
            num_beams=NUM_BEAMS,
            num_return_sequences=NUM_GENERATIONS,
            max_new_tokens=self._max_target,
            length_penalty=1.0,  # so that a score is the mean of the tokens' log-probabilities
            early_stopping=True,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self._tokenizer.batch_decode(generated.sequences, skip_special_tokens=True)
        likelihoods = generated.sequences_scores.float().exp().clamp(max=1.0).cpu().tolist()
        return [
            distinct(texts[at : at + NUM_GENERATIONS], likelihoods[at : at + NUM_GENERATIONS])
            for at in range(0, len(texts), NUM_GENERATIONS)
        ]


def prepare(folder: Path, model: str, contents: Sequence[str], labels: Sequence[str]) -> None:
    """Keep configuration, tokenizer, extractor and lengths.

    Raises InvalidInput when it is not an encoder-decoder, or reads another kind of source.
    """
    try:
        config = AutoConfig.from_pretrained(model)
        tokenizer = AutoTokenizer.from_pretrained(model)
        parts = [config, tokenizer]
        if hears(config):
            parts.append(_extractor(model))
    except (OSError, ValueError) as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a model by hub id or local path: {error}"
        ) from None
    _require(config, model, contents)
    for part in parts:
        part.save_pretrained(folder)
    longest = max(len(row) for row in tokenizer(text_target=list(labels)).input_ids)
    lengths = {"target": min(MAX_TOKENS, int(SLACK * longest) + 1)}
    (folder / LENGTHS_FILE).write_text(json.dumps(lengths))


def load(folder: Path, model: str, *, pretrained: bool) -> EncoderDecoder:
    """With the model's own weights where `pretrained`, else with fresh ones."""
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind: Any = AutoModelForSpeechSeq2Seq if hears(config) else AutoModelForSeq2SeqLM
    network = (
        kind.from_pretrained(model, config=config, dtype=torch.float32)
        if pretrained
        else kind.from_config(config, dtype=torch.float32)
    )
    longest = min(MAX_TOKENS, getattr(config, "max_position_embeddings", MAX_TOKENS))
    source = SoundSource(_extractor(folder)) if hears(config) else TextSource(tokenizer, longest)
    most = min(longest, getattr(config, "max_target_positions", MAX_TOKENS) - 1)
    lengths = json.loads((folder / LENGTHS_FILE).read_text())
    return EncoderDecoder(network, tokenizer, source, max_target=min(most, lengths["target"]))


def hears(config: Any) -> bool:
    """Whether the model's source is sound."""
    return type(config) in AutoModelForSpeechSeq2Seq._model_mapping


def _extractor(where: str | Path) -> Any:
    return AutoFeatureExtractor.from_pretrained(where)  # type: ignore[no-untyped-call]


def _require(config: Any, model: str, contents: Sequence[str]) -> None:
    if not config.is_encoder_decoder:
        raise InvalidInput.of(
            "model", f"{model!r} ({config.model_type}) has no decoder; use one like T5 or BART"
        )
    if not hears(config) and type(config) not in AutoModelForSeq2SeqLM._model_mapping:
        raise InvalidInput.of(
            "model", f"{model!r} ({config.model_type}) reads no texts; use one like T5 or BART"
        )
    sound = is_sound(contents[0])
    if sound != hears(config):
        kind, example = ("sounds", "Whisper") if sound else ("texts", "T5 or BART")
        raise InvalidInput.of(
            "model",
            f"{model!r} ({config.model_type}) cannot read {kind}; use one like {example}",
        )
