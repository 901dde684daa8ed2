"""Where tensors live, and how exact they are."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from cluster.interfaces import Tensors


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(batch: Tensors) -> Tensors:
    target = device()
    return {name: value.to(target, non_blocking=True) for name, value in batch.items()}


def autocast() -> AbstractContextManager[Any]:
    """bfloat16 on GPUs; on CPUs, where few have it in hardware, full precision."""
    if device().type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def release_memory() -> None:
    """Give the GPU's memory back that torch keeps for tensors to come: a process to which Ray gave
    the GPU by .options() stays after its task (2.60), and others need the memory."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
