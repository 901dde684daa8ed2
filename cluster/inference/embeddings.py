"""Contents as unit vectors: by a transformers encoder, or pictures by their own small pixels.

Which network suits follows from the kind of content, not from the task. R contents, D numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from cluster.engine.devices import device, to_device
from cluster.interfaces import Array
from relabel_service.errors import InvalidInput
from relabel_service.media import fetch, images
from relabel_service.tasks import task_named

SIDE = 16  # pixels a side of the built-in picture embedding
CHUNK_ROWS = 64
PILLOW = "pil"  # the processors' backend that needs no torchvision

Network = Callable[[Sequence[str]], Array]


class Embedder:
    """Contents of one task -> unit vectors [R, D]. model: Hugging Face id or local path."""

    def __init__(self, task: str, model: str | None) -> None:
        self._task, self._model = task, model
        self._network: Network | None = None

    def __call__(self, contents: Sequence[str]) -> Array:
        if not contents:
            return np.empty((0, 0))
        if self._network is None:
            self._network = NETWORKS[_kind(self._task, contents[0])](self._model)
        parts = [
            self._network(contents[at : at + CHUNK_ROWS])
            for at in range(0, len(contents), CHUNK_ROWS)
        ]
        vectors = np.concatenate(parts)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(length, 1e-12))

    @staticmethod
    def check(task: str, content: str, model: str | None) -> None:
        """Raises InvalidInput when contents like this cannot be embedded so."""
        kind = _kind(task, content)
        if kind not in NETWORKS and model is not None:
            raise InvalidInput.of(
                "encoder",
                f"{model!r} is given, but no embedding of {kind} is known, only of "
                f"{', '.join(NETWORKS)}; leave it out",
            )
        if kind not in NETWORKS:
            raise InvalidInput.of(
                "similarity_by", f"no embedding of {kind} is known, only of {', '.join(NETWORKS)}"
            )
        if model is None and kind != "image":
            raise InvalidInput.of(
                "encoder",
                f"none is given, and {kind} has no built-in embedding; name one by hub id or local "
                "path, or compare by tokens",
            )


def _kind(task: str, content: str) -> str:
    return task_named(task).content_to_wire(content).WhichOneof("payload") or ""


def _text(model: str | None) -> Network:
    """Mean of the last layer over a text's tokens (Reimers and Gurevych 2019)."""
    from cluster.models.pretrained import give_padding, max_tokens  # as _loaded does

    tokenizer, network = _loaded("AutoTokenizer", model)
    network = _reader(network, "text_model", reads="input_ids", model=model)
    give_padding(tokenizer)

    @torch.inference_mode()
    def embed(contents: Sequence[str]) -> Array:
        batch = tokenizer(
            list(contents),
            truncation=True,
            max_length=max_tokens(tokenizer, network),
            padding=True,
            return_tensors="pt",
        )
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        hidden = network(**to_device(inputs)).last_hidden_state.float().cpu()
        mask = inputs["attention_mask"][..., None]
        return np.asarray((hidden * mask).sum(1) / mask.sum(1).clamp(min=1), np.float64)

    return embed


def _image(model: str | None) -> Network:
    return _pixels if model is None else _pictures(model)


def _pictures(model: str) -> Network:
    """Mean of the last layer over a picture's patches or places."""
    processor, network = _loaded("AutoImageProcessor", model, backend=PILLOW)
    network = _reader(network, "vision_model", reads="pixel_values", model=model)

    @torch.inference_mode()
    def embed(contents: Sequence[str]) -> Array:
        opened = [images.decode(fetch.load(one)) for one in contents]
        inputs = {"pixel_values": processor(images=opened, return_tensors="pt")["pixel_values"]}
        hidden = network(**to_device(inputs)).last_hidden_state.float().cpu()
        places = hidden.flatten(2).mean(2) if hidden.ndim == 4 else hidden.mean(1)
        return np.asarray(places, np.float64)

    return embed


def _pixels(contents: Sequence[str]) -> Array:
    """The picture at SIDE pixels, each colour less its mean."""
    found = np.stack(
        [images.pixels(fetch.load(one), width=SIDE, height=SIDE) for one in contents]
    ).astype(np.float64)
    return np.asarray((found - found.mean(axis=(1, 2), keepdims=True)).reshape(len(found), -1))


def _loaded(reader: str, model: str | None, **settings: Any) -> tuple[Any, Any]:
    """What prepares inputs, and the network."""
    import transformers  # two seconds, only where asked for

    from cluster.models.pretrained import LOADING_ERRORS

    assert model is not None  # check() has seen to it
    try:
        return (
            getattr(transformers, reader).from_pretrained(model, **settings),
            transformers.AutoModel.from_pretrained(model, dtype=torch.float32).to(device()).eval(),
        )
    except LOADING_ERRORS as error:
        raise InvalidInput.of(
            "encoder", f"{model!r} is no encoder by hub id or local path: {error}"
        ) from None


def _reader(network: Any, part: str, *, reads: str, model: str | None) -> Any:
    """The part of a network that reads the contents: a text model's encoder where a decoder stands
    behind it (T5, BART), one of the two where it reads texts and pictures (CLIP).

    Raises InvalidInput where none reads them.
    """
    network = getattr(network, part, network)
    if reads == "input_ids" and network.config.is_encoder_decoder:
        network = network.get_encoder()
    if network.main_input_name != reads:
        raise InvalidInput.of(
            "encoder",
            f"{model!r} reads {network.main_input_name}, not {reads} as these contents need; name "
            "an encoder of contents like these",
        )
    return network


NETWORKS: dict[str, Callable[[str | None], Network]] = {"text": _text, "image": _image}
