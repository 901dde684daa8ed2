"""What models of the transformers library share, whatever they look at."""

import torch
from torch import nn

from cluster.interfaces import Tensors


class Logits(nn.Module):
    """A transformers model as a network that takes a batch and gives logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors) -> torch.Tensor:
        logits: torch.Tensor = self.model(**batch).logits
        return logits
