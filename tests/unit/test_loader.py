"""Training batches: what is collated, in which order, and by how many processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from cluster.engine.workers import Workers
from cluster.interfaces import Tensors
from cluster.training.config import TrainConfig
from cluster.training.loader import Batches
from relabel_service.errors import InvalidInput

ROWS = 10


class Doubling:
    """A learner's collation alone. It draws, as those that augment do."""

    def collate(self, encoded: Sequence[int], targets: Sequence[int] | None = None) -> Tensors:
        assert targets is not None
        return {
            "inputs": torch.tensor(encoded) * 2,
            "targets": torch.tensor(targets),
            "drawn": torch.rand(len(encoded)),
        }


def batches(num_loaders: int, seed: int = 0) -> Batches:
    learner: Any = Doubling()
    return Batches(
        learner,
        list(range(ROWS)),
        list(range(100, 100 + ROWS)),
        batch_size=4,
        num_loaders=num_loaders,
        seed=seed,
    )


@pytest.mark.parametrize("num_loaders", [0, 1, 2])
def test_every_row_of_the_order_comes_once_in_that_order(num_loaders: int) -> None:
    some = batches(num_loaders)
    for seed in (1, 2):  # the second pass has loaders that have been used
        order = np.random.default_rng(seed).permutation(ROWS)
        found = list(some.of(order))
        assert [len(places) for places, _ in found] == [4, 4, 2]
        assert torch.cat([places for places, _ in found]).tolist() == order.tolist()
        assert torch.cat([batch["inputs"] for _, batch in found]).tolist() == (2 * order).tolist()
        assert (
            torch.cat([batch["targets"] for _, batch in found]).tolist() == (100 + order).tolist()
        )


def test_rows_that_an_order_repeats_are_repeated() -> None:
    order = np.array([3, 3, 1, 3, 0])
    assert torch.cat([places for places, _ in batches(2).of(order)]).tolist() == order.tolist()


def test_what_loaders_draw_follows_from_the_seed_and_differs_from_pass_to_pass() -> None:
    def drawn(seed: int) -> list[list[float]]:
        some = batches(2, seed)
        return [
            torch.cat([batch["drawn"] for _, batch in some.of(np.arange(ROWS))]).tolist()
            for _ in range(2)
        ]

    first, second = drawn(7)
    assert [first, second] == drawn(7)
    assert first != second
    assert first != drawn(8)[0]


def test_cpus_that_would_feed_no_gpu_are_refused() -> None:
    assert Workers(use_gpu=True, cpus_per_gpu=4).cpus_per_gpu == 4
    with pytest.raises(InvalidInput, match="4 feed no GPU; ask for GPUs"):
        Workers(cpus_per_gpu=4)
    with pytest.raises(InvalidInput, match="0 is too small; use 1 or more"):
        Workers(use_gpu=True, cpus_per_gpu=0)
    with pytest.raises(InvalidInput, match="num_workers: 0 is too small; use 1 or more"):
        Workers(0)


def test_training_goes_on_whatever_its_workers() -> None:
    alone = TrainConfig()
    for workers in (Workers(2), Workers(use_gpu=True, cpus_per_gpu=4)):
        assert TrainConfig(workers=workers).to_dict() == alone.to_dict()
    assert TrainConfig(seed=1).to_dict() != alone.to_dict()
