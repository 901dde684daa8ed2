"""Picture models of the transformers library (Swin, ViT, ResNet, ...), by hub id or local path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.class_learner import ClassLearner
from cluster.models.pretrained import LOADING_ERRORS, Logits, classifier
from relabel_service.errors import InvalidInput
from relabel_service.media import fetch, images

PILLOW = "pil"  # the processors' backend that needs no torchvision
DEFAULTS = TrainingDefaults(
    epochs=5, batch_size=32, learning_rate=5e-5, weight_decay=0.05, warmup_share=0.1
)


def prepare(folder: Path, model: str) -> None:
    """Keep the processor and configuration, so that inference needs neither hub nor path."""
    try:
        _processor(model).save_pretrained(folder)
        config = AutoConfig.from_pretrained(model)
        if type(config) not in AutoModelForImageClassification._model_mapping:
            raise ValueError(f"a {config.model_type} does not classify pictures")
        config.save_pretrained(folder)
    except LOADING_ERRORS as error:
        raise InvalidInput.of(
            "model", f"{model!r} is not a picture model by hub id or local path: {error}"
        ) from None


def load(folder: Path, model: str, *, classes: Sequence[str], pretrained: bool) -> ClassLearner:
    """A learner; with the model's own weights where `pretrained` (see classifier)."""
    processor = _processor(folder)
    config = AutoConfig.from_pretrained(folder, num_labels=len(classes))
    network = classifier(
        AutoModelForImageClassification, config, model, outputs=classes, pretrained=pretrained
    )

    def collate(encoded: Sequence[bytes]) -> Tensors:
        pictures = [images.decode(data) for data in encoded]
        return {"pixel_values": processor(images=pictures, return_tensors="pt")["pixel_values"]}

    return ClassLearner(
        Logits(network),
        classes=classes,
        defaults=DEFAULTS,
        # Files are kept, not tensors, which would be a hundred times as large at 224 pixels a side.
        encode=lambda contents: [fetch.load(content) for content in contents],
        collate=collate,
        size=lambda _: 1,
    )


def _processor(model: str | Path) -> Any:
    return AutoImageProcessor.from_pretrained(model, backend=PILLOW)  # type: ignore[no-untyped-call]
