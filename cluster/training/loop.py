"""The training loop: one model, its optimizer, epochs over the rows of this process.

Torch alone: it knows no tables, folders or engines. Where torch.distributed is set up, the
processes share each step: every one has its own rows, and gradients are averaged.

R rows of this process, B rows a batch, Q quantities that training watches in each row.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn

from cluster.engine.devices import autocast, device, to_device
from cluster.interfaces import Learner, TrainingDefaults
from cluster.training.adamw import AdamW
from cluster.training.loader import Batches

MIN_BATCH_WEIGHT = 1e-6  # a batch that weighs less is not divided by its weight


@dataclass(frozen=True)
class EncodedRows:
    """inputs, targets: as the learner encodes them. weights: of each row's loss, float32. [R]."""

    inputs: Sequence[Any]
    targets: Sequence[Any]
    weights: torch.Tensor

    @classmethod
    def of(
        cls,
        learner: Learner,
        contents: Sequence[str],
        labels: Sequence[str],
        weights: npt.NDArray[np.floating[Any]] | None = None,
    ) -> "EncodedRows":
        """Text forms as the learner takes them; all rows weigh 1 where there are no weights."""
        weighed = np.ones(len(contents)) if weights is None else weights
        return cls(
            learner.encode(contents),
            learner.encode_labels(labels, contents),
            torch.from_numpy(weighed.astype(np.float32)),
        )


class Checkpoint(Protocol):
    """Keeps the state of one run."""

    @property
    def interval_s(self) -> float:
        """Seconds of work that may be lost."""

    def load(self) -> Mapping[str, Any] | None:
        """What was saved last; None for a run that begins."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep this state instead of the last. Called in the first process alone."""


def fit(
    learner: Learner,
    rows: EncodedRows,
    indices: npt.NDArray[np.int64],
    *,
    defaults: TrainingDefaults,
    seed: int = 0,
    run_number: int = 0,
    num_loaders: int = 0,
    checkpoint: Checkpoint | None = None,
) -> npt.NDArray[np.float64]:
    """Train the learner on the rows at `indices`; continue where `checkpoint` was saved.

    defaults: epochs, batch size, learning rate and its schedule. num_loaders: processes that
    collate batches ahead. Returns [R, 1 + Q]: how often each row was seen, and over these times
    the sums of what was watched in it.
    """
    model = _shared(cast(nn.Module, learner).to(device()))
    optimizer = AdamW(model.parameters(), weight_decay=defaults.weight_decay)
    num_steps = _most(-(-len(indices) // defaults.batch_size))
    batches = Batches(
        learner,
        rows.inputs,
        rows.targets,
        batch_size=defaults.batch_size,
        num_loaders=num_loaders,
        seed=seed + run_number + rank(),
    )
    weights = rows.weights.to(device())
    # On the device, as losses are: to fetch them would hold up each step until the last is over.
    watched = torch.zeros(
        (len(rows.inputs), 1 + len(learner.dynamics)), dtype=torch.float64, device=device()
    )
    parts: dict[str, Any] = {"learner": learner, "optimizer": optimizer}
    first_epoch = 0 if checkpoint is None else _restore(checkpoint, parts, watched)
    saved_at = time.monotonic()
    for epoch in range(first_epoch, defaults.epochs):
        random = np.random.default_rng((seed, run_number, epoch, rank()))
        order = _same_steps(random.permutation(indices), num_steps, defaults.batch_size)
        model.train()
        for step, (places, batch) in enumerate(batches.of(order), epoch * num_steps):
            places = places.to(device(), non_blocking=True)
            with autocast():
                losses, quantities = model(to_device(batch))
            optimizer.zero_grad()
            weighted_mean(losses.float(), weights[places]).backward()  # type: ignore[no-untyped-call]
            if defaults.max_gradient_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), defaults.max_gradient_norm)
            optimizer.step(defaults.rate_at(step, num_steps * defaults.epochs))
            seen = torch.cat([quantities.new_ones(len(places), 1), quantities], dim=1)
            watched.index_add_(0, places, seen.double())
        if checkpoint is None or epoch + 1 == defaults.epochs:
            continue
        # All processes save together or none does: a restart takes all of them back to one epoch.
        if _most(int(time.monotonic() - saved_at > checkpoint.interval_s)):
            _save(checkpoint, parts, watched, epoch + 1)
            saved_at = time.monotonic()
    return watched.cpu().numpy()


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of [B] losses; 0 for a batch whose rows do not count."""
    return (losses * weights).sum() / weights.sum().clamp(min=MIN_BATCH_WEIGHT)


def rank() -> int:
    """Of this process among those that share the rows; 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait_for_all() -> None:
    """Return when every process that shares the rows has come here."""
    _most(0)


def _shared(module: nn.Module) -> nn.Module:
    """The module, with gradients averaged over the processes where there are several."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return module
    return nn.parallel.DistributedDataParallel(module)


def _same_steps(
    order: npt.NDArray[np.int64], num_steps: int, batch_size: int
) -> npt.NDArray[np.int64]:
    """Processes with fewer rows begin anew, so that all take the same number of steps."""
    repeated = np.resize(order, max(num_steps * batch_size, len(order)))
    return repeated[: max(len(order), (num_steps - 1) * batch_size + 1)]


def _save(
    checkpoint: Checkpoint, parts: Mapping[str, Any], watched: torch.Tensor, epoch: int
) -> None:
    if rank() == 0:
        states = {name: part.state_dict() for name, part in parts.items()}
        random = torch.get_rng_state()
        checkpoint.save({**states, "epoch": epoch, "watched": watched, "random": random})
    wait_for_all()


def _restore(checkpoint: Checkpoint, parts: Mapping[str, Any], watched: torch.Tensor) -> int:
    """Bring the parts to what was saved; the next epoch.

    What other processes than the first had watched is forgotten: means are over what was seen.
    """
    state = checkpoint.load()
    if state is None:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if rank() == 0 and watched.shape == state["watched"].shape:
        watched.copy_(state["watched"])
        torch.set_rng_state(state["random"].cpu())
    return int(state["epoch"])


def _most(number: int) -> int:
    """The largest over all processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return number
    shared = torch.tensor([number], device=device())
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared.item())
