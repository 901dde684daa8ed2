"""What models of the transformers library share, whatever they look at.

Weights are float32 whatever the checkpoint's are: steps of training are too small for half
precision, which forgets most of them (bfloat16 is used as autocast alone, on GPUs).
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer

from cluster.interfaces import Tensors

MAX_TOKENS = 512
# What loading raises where a path, id or file is not what it should be.
LOADING_ERRORS = (OSError, ValueError, KeyError, ImportError)


class Logits(nn.Module):
    """A transformers model as a network that takes a batch and gives logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors) -> torch.Tensor:
        logits: torch.Tensor = self.model(**batch).logits
        return logits


def classifier(
    kind: Any, config: Any, model: str, *, outputs: Sequence[str], pretrained: bool
) -> nn.Module:
    """A network with one output for each name, in float32.

    kind: the library's class of networks, such as AutoModelForSequenceClassification. config: with
    as many labels as outputs. Where `pretrained`, with the checkpoint's weights; of its head those
    rows whose names are the outputs', if it names all of them, and a fresh head otherwise.
    """
    padding = getattr(config, "pad_token_id", None)
    if (
        config.is_encoder_decoder
        and padding is not None
        and getattr(config, "decoder_start_token_id", None) is None
    ):
        # T5's decoder begins with padding; the library keeps that with generation's settings, and
        # its classifier asks the network's (transformers 5.23).
        config.decoder_start_token_id = padding
    fresh: nn.Module = kind.from_config(config, dtype=torch.float32)
    if not pretrained:
        return fresh
    own = kind.from_pretrained(model, dtype=torch.float32, ignore_mismatched_sizes=True)
    rows = _rows_by_name(own.config.id2label, outputs)
    head = _head(kind, config)
    state, owned = fresh.state_dict(), own.state_dict()
    for name, values in owned.items():
        if name not in head and name in state and state[name].shape == values.shape:
            state[name] = values
        elif name in head and rows is not None:
            # A class for "nothing here", where the head has one, is behind the named ones.
            others = range(len(own.config.id2label), len(values))
            chosen = values[[*rows, *others]]
            if chosen.shape == state[name].shape:
                state[name] = chosen
    fresh.load_state_dict(state)
    return fresh


def tokenizer_of(model: str | Path, **settings: Any) -> Any:
    """The tokenizer, with a token to pad with."""
    tokenizer = AutoTokenizer.from_pretrained(model, **settings)
    give_padding(tokenizer)
    return tokenizer


def give_padding(tokenizer: Any) -> None:
    """Where a tokenizer has no token to pad with (GPT-2, Llama), the one that ends texts."""
    if tokenizer.pad_token is None:
        known = (tokenizer.eos_token, tokenizer.unk_token, tokenizer.convert_ids_to_tokens(0))
        tokenizer.pad_token = next(token for token in known if token is not None)


def max_tokens(tokenizer: Any, network: nn.Module) -> int:
    """Tokens of a text that the network has positions for, at most MAX_TOKENS."""
    limits = [MAX_TOKENS, int(tokenizer.model_max_length)]
    config: Any = network.config
    stated = getattr(config, "max_position_embeddings", None)
    if isinstance(stated, int) and stated > 0:  # XLNet says -1: any
        limits.append(stated)
    for name, module in network.named_modules():
        # RoBERTa and its kin count positions from behind that of padding.
        is_positions = isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
        if is_positions and module.padding_idx is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return min(limits)


def _rows_by_name(names: dict[int, str], outputs: Sequence[str]) -> list[int] | None:
    """The checkpoint's row of each output, letter case and spaces around aside; None if one is
    missing or there are two of a name."""
    rows = {_plain(name): index for index, name in names.items()}
    wanted = [_plain(output) for output in outputs]
    if len(rows) < len(names) or len(set(wanted)) < len(wanted) or not rows.keys() >= set(wanted):
        return None
    return [rows[name] for name in wanted]


def _plain(name: str) -> str:
    return str(name).strip().casefold()


def _head(kind: Any, config: Any) -> set[str]:
    """Names of the weights that have a row for each label: those whose shape follows the number."""
    one_more = deepcopy(config)
    one_more.num_labels = config.num_labels + 1
    with torch.device("meta"):
        shapes, others = (
            {name: value.shape for name, value in kind.from_config(each).state_dict().items()}
            for each in (config, one_more)
        )
    return {name for name, shape in shapes.items() if others.get(name) != shape}
