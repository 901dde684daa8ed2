"""Training batches, collated ahead of the steps by processes of their own where asked.

On a GPU a step is over long before its successor's pictures are decoded in the same process.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from cluster.engine.devices import device
from cluster.interfaces import Learner, Tensors

Places = npt.NDArray[np.int64]


class Batches:
    """Cuts orders of rows into collated batches on the CPU.

    inputs, targets: encoded, one of each a row. num_loaders: processes that collate ahead;
    0 collates in this one. seed: of what is drawn in those processes.
    """

    def __init__(
        self,
        learner: Learner,
        inputs: Sequence[Any],
        targets: Sequence[Any],
        *,
        batch_size: int,
        num_loaders: int,
        seed: int,
    ) -> None:
        self._cut, self._rows = _Cut(batch_size), _Rows(learner, inputs, targets)
        if not num_loaders and device().type == "cpu":
            self._loader: DataLoader[tuple[torch.Tensor, Tensors]] | None = None
            return
        self._loader = DataLoader(
            self._rows,
            sampler=self._cut,
            batch_size=None,
            num_workers=num_loaders,
            persistent_workers=num_loaders > 0,
            multiprocessing_context="fork" if num_loaders else None,  # learners do not pickle
            pin_memory=device().type == "cuda",
            # Its own: each pass would draw from the numbers that the model is trained with.
            generator=torch.Generator().manual_seed(seed),
        )

    def of(self, order: Places) -> Iterator[tuple[torch.Tensor, Tensors]]:
        """One pass: the rows of each batch, [B] int64, and the batch; `order` may repeat rows."""
        self._cut.order = order
        if self._loader is not None:
            yield from self._loader
            return
        for places in self._cut:  # a DataLoader adds a tenth to a small model's step
            yield self._rows[places]


class _Cut:
    """A sampler that gives the places of one batch after the other."""

    def __init__(self, batch_size: int) -> None:
        self.order: Places = np.empty(0, np.int64)
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Places]:
        for at in range(0, len(self.order), self._batch_size):
            yield self.order[at : at + self._batch_size]

    def __len__(self) -> int:
        return -(-len(self.order) // self._batch_size)


class _Rows(Dataset[tuple[torch.Tensor, Tensors]]):
    """Collates what it is asked for: in a loader's process where there are any."""

    def __init__(self, learner: Learner, inputs: Sequence[Any], targets: Sequence[Any]) -> None:
        self._learner, self._inputs, self._targets = learner, inputs, targets

    def __getitem__(self, places: Places) -> tuple[torch.Tensor, Tensors]:
        batch = self._learner.collate(
            [self._inputs[place] for place in places], [self._targets[place] for place in places]
        )
        return torch.from_numpy(places), batch
