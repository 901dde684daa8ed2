"""AdamW (Loshchilov and Hutter 2019) by torch's function, without a torch.optim.Optimizer.

Building an Optimizer imports torch._dynamo (torch 2.13), which takes as long as importing torch,
and longer than training a small model. The numbers are the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # as torch.optim.AdamW


class AdamW:
    """Updates parameters by their gradients; those without a gradient stay as they are."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._weight_decay = weight_decay
        # Running means of the gradients, and of their squares.
        self._means = [torch.zeros_like(one) for one in self._parameters]
        self._squares = [torch.zeros_like(one) for one in self._parameters]
        self._steps = [torch.zeros((), device=one.device) for one in self._parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update."""
        moved = [at for at, one in enumerate(self._parameters) if one.grad is not None]
        adamw(
            [self._parameters[at] for at in moved],
            [gradient for one in self._parameters if (gradient := one.grad) is not None],
            [self._means[at] for at in moved],
            [self._squares[at] for at in moved],
            [],
            [self._steps[at] for at in moved],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim.AdamW's, without its settings."""
        states = zip(self._steps, self._means, self._squares, strict=True)
        names = ("step", "exp_avg", "exp_avg_sq")
        return {"state": {at: dict(zip(names, one, strict=True)) for at, one in enumerate(states)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, or from one that torch.optim.AdamW has saved."""
        for at, saved in state["state"].items():
            self._steps[at].copy_(saved["step"])
            self._means[at].copy_(saved["exp_avg"])
            self._squares[at].copy_(saved["exp_avg_sq"])
