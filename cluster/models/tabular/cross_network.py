"""The built-in model of clicks: DCN-v2 (Wang et al. 2021, "DCN V2"), parallel structure.

Cross layers multiply features with each other explicitly, a small deep network
beside them catches the rest. B rows, F columns, D numbers of the joined input.
"""

import torch
from torch import nn

from cluster.interfaces import Tensors

EMBEDDING = 8  # numbers an embedded bucket
NUM_CROSSES = 2
HIDDEN = (64, 32)
DROPOUT = 0.2


class CrossNetwork(nn.Module):
    """Logits of a click, [B], of `buckets` int64 [B, F] and `numbers` float32 [B, N]."""

    def __init__(self, *, num_columns: int, num_numbers: int, num_buckets: int) -> None:
        super().__init__()
        width = num_columns * EMBEDDING + num_numbers
        self.embedding = nn.Embedding(num_buckets, EMBEDDING)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.bias = nn.Embedding(num_buckets, 1)  # the wide part: one number a bucket
        nn.init.zeros_(self.bias.weight)
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(NUM_CROSSES))
        self.deep = _deep(width)
        self.head = nn.Linear(width + HIDDEN[-1], 1)

    def forward(self, batch: Tensors) -> torch.Tensor:
        embedded = self.embedding(batch["buckets"]).flatten(1)
        start = torch.cat([embedded, batch["numbers"]], dim=1)
        crossed = start
        for layer in self.crosses:
            crossed = start * layer(crossed) + crossed  # equation 1
        joined = torch.cat([crossed, self.deep(start)], dim=1)
        wide = self.bias(batch["buckets"]).sum(dim=(1, 2))
        logits: torch.Tensor = self.head(joined).squeeze(1) + wide
        return logits


def _deep(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in HIDDEN:
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(DROPOUT)]
        width = size
    return nn.Sequential(*layers)
