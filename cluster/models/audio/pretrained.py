"""Sound models of the transformers library (Wav2Vec2, HuBERT, Whisper, ...), by id or path."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.audio.waveform import resampled
from cluster.models.class_learner import ClassLearner
from cluster.models.pretrained import LOADING_ERRORS, Logits, classifier
from relabel_service.errors import InvalidInput
from relabel_service.media import audio, fetch

MAX_S = 30.0  # of a longer sound the beginning is heard
MIN_S = 0.1  # a shorter one is followed by silence, because convolutions need some length
DEFAULTS = TrainingDefaults(epochs=5, batch_size=16, learning_rate=3e-5, warmup_share=0.1)


def prepare(folder: Path, model: str) -> None:
    """Keep the extractor and configuration, so that inference needs neither hub nor path."""
    try:
        extractor = _extractor(model)
        config = AutoConfig.from_pretrained(model)
        if type(config) not in AutoModelForAudioClassification._model_mapping:
            raise ValueError(f"a {config.model_type} does not classify sounds")
        if not hasattr(extractor, "sampling_rate"):
            raise ValueError("its feature extractor hears no sounds")
    except LOADING_ERRORS as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a sound model by hub id or local path: {error}"
        ) from None
    extractor.save_pretrained(folder)
    config.save_pretrained(folder)


def load(folder: Path, model: str, *, classes: Sequence[str], pretrained: bool) -> ClassLearner:
    """A learner; with the model's own weights where `pretrained` (see classifier)."""
    extractor = _extractor(folder)
    rate, padding = extractor.sampling_rate, _padding(extractor)
    config = AutoConfig.from_pretrained(folder, num_labels=len(classes))
    network = classifier(
        AutoModelForAudioClassification, config, model, outputs=classes, pretrained=pretrained
    )

    least = max(int(MIN_S * rate), _masked(config))

    def heard(data: bytes) -> audio.Samples:
        samples = resampled(data, rate)[: int(MAX_S * rate)]
        return np.pad(samples, (0, max(least - len(samples), 0)))

    def collate(encoded: Sequence[bytes]) -> Tensors:
        asked = extractor(
            [heard(data) for data in encoded], sampling_rate=rate, return_tensors="np", **padding
        )
        return {name: torch.from_numpy(np.asarray(value)) for name, value in asked.items()}

    return ClassLearner(
        Logits(network),
        classes=classes,
        defaults=DEFAULTS,
        # Files are kept, not samples, which would be several times as large.
        encode=lambda contents: [fetch.load(content) for content in contents],
        collate=collate,
        size=len,
    )


def _masked(config: Any) -> int:
    """Samples of the shortest sound that SpecAugment's mask over time is not longer than; 0 for
    models that do not convolve samples."""
    step = receptive = 1
    kernels, strides = getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ())
    if not isinstance(kernels, list | tuple) or not kernels:
        return 0
    for kernel, stride in zip(kernels, strides, strict=True):
        receptive += (kernel - 1) * step
        step *= stride
    frames = getattr(config, "mask_time_length", 1) * getattr(config, "squeeze_factor", 1)
    return int(receptive + (frames - 1) * step)


def _padding(extractor: Any) -> dict[str, bool]:
    """Extractors that pad to a fixed length do so by themselves; others must be asked to pad."""
    asked = signature(extractor.__call__).parameters.get("padding")
    return {"padding": True} if asked is not None and asked.default is False else {}


def _extractor(model: str | Path) -> Any:
    return AutoFeatureExtractor.from_pretrained(model)  # type: ignore[no-untyped-call]
