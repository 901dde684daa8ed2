"""Text encoders of the transformers library, by hub id or local path, under a class head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.class_learner import ClassLearner
from cluster.models.pretrained import Logits
from relabel_service.errors import InvalidInput

MAX_TOKENS = 512
DEFAULTS = TrainingDefaults(epochs=3, batch_size=16, learning_rate=5e-5, warmup_share=0.1)


def prepare(folder: Path, model: str) -> None:
    """Keep the tokenizer and configuration, so that inference needs neither hub nor path."""
    try:
        AutoTokenizer.from_pretrained(model).save_pretrained(folder)
        AutoConfig.from_pretrained(model).save_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a text model by hub id or local path: {error}"
        ) from None


def load(folder: Path, model: str, *, classes: Sequence[str], pretrained: bool) -> ClassLearner:
    """A learner with a fresh head; with the model's own encoder weights where `pretrained`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder, num_labels=len(classes))
    network = (
        AutoModelForSequenceClassification.from_pretrained(
            model, config=config, ignore_mismatched_sizes=True
        )
        if pretrained
        else AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    )
    longest = min(MAX_TOKENS, tokenizer.model_max_length, config.max_position_embeddings)

    def encode(contents: Sequence[str]) -> list[list[int]]:
        tokens: list[list[int]] = tokenizer(
            list(contents), truncation=True, max_length=longest
        ).input_ids
        return tokens

    def collate(encoded: Sequence[Any]) -> Tensors:
        padded = tokenizer.pad({"input_ids": list(encoded)}, return_tensors="pt")
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    return ClassLearner(
        Logits(network),
        classes=classes,
        defaults=DEFAULTS,
        encode=encode,
        collate=collate,
        size=len,
    )
