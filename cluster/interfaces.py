"""The heavy side's protocols: what shared code asks of a task's models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

Array = npt.NDArray[np.float64]
Tensors = dict[str, torch.Tensor]

# Columns that mining adds to the judged rows of tasks that pool views (Pools).
FOLD, EMBEDDING = "fold", "embedding"  # int64; list<float32>, where the run has an encoder
OBSERVED = "observed_"  # float64, one for each quantity that training watched; NaN if it did not


@dataclass(frozen=True)
class TrainingDefaults:
    """How a model of this kind is trained unless the user says otherwise."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup_share: float = 0.0
    """Share of the steps in which the learning rate rises from 0, in [0, 1]; then it falls to 0."""

    def rate(self, step: int, num_steps: int) -> float:
        """Learning rate of a step as a share of the highest: up over the warm-up, then to 0."""
        warmup = int(self.warmup_share * num_steps)
        if step < warmup:
            return (step + 1) / warmup
        return (num_steps - step) / max(num_steps - warmup, 1)


class Learner(Protocol):
    """A torch module of one task, with the way into and out of it. B rows a batch."""

    defaults: TrainingDefaults
    observed: tuple[str, ...]
    """Names of what training watches in each row: the columns of forward's second value."""

    def encode(self, contents: Sequence[str]) -> list[Any]:
        """Model input of each row, to be cached; a row at a time must give the same."""

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[Any]:
        """Training target of each row, to be cached."""

    def size(self, encoded: Any) -> int:
        """How much work the row is (tokens, say); rows of like size are predicted together."""

    def collate(self, encoded: Sequence[Any], targets: Sequence[Any] | None = None) -> Tensors:
        """One batch on the CPU; with targets when training."""

    def __call__(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of each row, [B], differentiable; and what is observed, [B, len(observed)]."""

    def predict(self, batch: Tensors) -> list[Any]:
        """What the model says of each row, on the CPU: input to judge and answers."""

    def score(
        self, predictions: Sequence[Any], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        """Each row's label against its prediction.

        One row for each row and unit, in order: `row` int64 (place in the batch),
        `unit`, `label` (the unit's part), `suggestions` (tables.SUGGESTION, most
        probable first) and columns of what the task's suspicion, signals and reasons need.
        """

    def answers(self, predictions: Sequence[Any]) -> list[Any]:
        """Plain predictions for ModelTask.metrics."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any: ...


@runtime_checkable
class ScoresGivenLabels(Protocol):
    """A Learner whose judgement also needs what its own run's model makes of the label itself."""

    def predict_given(self, batch: Tensors) -> list[Any]:
        """As Learner.predict, of a batch with the targets of the labels to be judged."""


class ModelTask(Protocol):
    """What a task can do with models."""

    name: str

    def shingles(self, content: str) -> Iterable[bytes] | None:
        """Features whose overlap tells near-duplicate contents; None where that is not known."""

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        """Write what a learner needs besides weights (a vocabulary, a tokenizer, a config).

        model: Hugging Face id or local path; None for the built-in. contents,
        labels: a sample of the training rows. Raises InvalidInput when `model`
        is not one of this task's.
        """

    def start(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> Learner:
        """A learner from what prepare wrote; with the pretrained weights of `model` if asked."""

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        """What suspicion needs of the whole table; sums of parts add up."""

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """How likely each judged label is wrong, shape [rows], in [0, 1]; higher is worse."""

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """Named evidence behind the suspicion, each [rows]."""

    def reasons(self, scored: pa.Table) -> list[str]:
        """Why each row is in doubt, in words for the person who looks at it."""

    def metrics(self, answers: Sequence[Any], labels: Sequence[str]) -> dict[str, float]:
        """How good answers are against true labels; the first is the headline. Higher is better."""


@runtime_checkable
class Pools(Protocol):
    """A ModelTask that weighs the trained model's view of a row against others.

    Mining calls moments on each part of the judged rows, learn once, and with_views on
    each part; sums, suspicion and signals then see what with_views gave.
    """

    def moments(self, scored: pa.Table, classes: Sequence[str], num_folds: int) -> dict[str, Array]:
        """What learn needs of the whole table; moments of parts add up."""

    def learn(
        self, sample: pa.Table, moments: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """How much each view counts, from a sample of the judged rows."""

    def with_views(
        self, scored: pa.Table, learned: Mapping[str, Array], classes: Sequence[str]
    ) -> pa.Table:
        """The judged rows and, in columns more, what the other views say of them."""


@runtime_checkable
class KnowsNoise(Protocol):
    """A ModelTask that tells how labels go wrong class by class."""

    def noise_matrix(self, sums: Mapping[str, Array]) -> Array:
        """P(label | true class), rows sum to 1, [C, C] in the order of the classes."""


@runtime_checkable
class Disagreements(Protocol):
    """A ModelTask that has more than one measure of disagreement to rank by."""

    disagreements: tuple[str, ...]
    """Signals that are suspicions in their own right: in [0, 1], higher is worse."""
