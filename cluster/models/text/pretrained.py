"""Text models of the transformers library, by hub id or local path, under a class head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.class_learner import ClassLearner
from cluster.models.pretrained import LOADING_ERRORS, Logits, classifier, max_tokens, tokenizer_of
from relabel_service.errors import InvalidInput

DEFAULTS = TrainingDefaults(epochs=3, batch_size=16, learning_rate=5e-5, warmup_share=0.1)


def prepare(folder: Path, model: str) -> None:
    """Keep the tokenizer and configuration, so that inference needs neither hub nor path."""
    try:
        config = AutoConfig.from_pretrained(model)
        if type(config) not in AutoModelForSequenceClassification._model_mapping:
            raise ValueError(f"a {config.model_type} does not classify texts")
        tokenizer = tokenizer_of(model)
    except LOADING_ERRORS as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a text model by hub id or local path: {error}"
        ) from None
    config.pad_token_id = tokenizer.pad_token_id  # by which decoders find a text's last token
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)


def load(folder: Path, model: str, *, classes: Sequence[str], pretrained: bool) -> ClassLearner:
    """A learner; with the model's own weights where `pretrained` (see classifier)."""
    tokenizer = tokenizer_of(folder)
    config = AutoConfig.from_pretrained(folder, num_labels=len(classes))
    network = classifier(
        AutoModelForSequenceClassification, config, model, outputs=classes, pretrained=pretrained
    )
    longest = max_tokens(tokenizer, network)

    def encode(contents: Sequence[str]) -> list[list[int]]:
        # Signs in a text that look like the tokenizer's own ("</s>") are text: encoder-decoders
        # find the end of each text by such a token.
        tokens: list[list[int]] = tokenizer(
            list(contents), truncation=True, max_length=longest, split_special_tokens=True
        ).input_ids
        return [row or [tokenizer.pad_token_id] for row in tokens]

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
