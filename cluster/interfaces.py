"""What shared code asks of a task's models: the Protocols Learner, ModelTask and Ensemble.

Whatever differs between tasks is a field or a method here; shared code never branches on a task's
name, and never asks for the type of what it holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:  # whoever only reads or ranks rows loads no torch
    import torch

Array = npt.NDArray[np.float64]
Tensors: TypeAlias = "dict[str, torch.Tensor]"

# Columns that mining adds to the scored rows of tasks that have an Ensemble.
FOLD, EMBEDDING = "fold", "embedding"  # int64; list<float32>, where the run has an encoder
# Beginning of the columns of predictions that others made, list<float64>: base scores of each
# class, as scores/stacking.py takes them; null for rows without one.
VIEW = "view_"
# Beginning of the columns of training dynamics, float64; NaN where no run trained on the row.
DYNAMICS = "dynamics_"


@dataclass(frozen=True)
class TrainingDefaults:
    """How a model of this kind is trained unless the user says otherwise."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup_share: float = 0.0
    """Share of the steps in which the learning rate rises from 0, in [0, 1]; then it falls to 0."""
    max_gradient_norm: float | None = 1.0
    """Longer gradients are cut to it; None cuts none, for models whose gradients cannot be long."""

    def rate_at(self, step: int, num_steps: int) -> float:
        """Learning rate of a step: up to `learning_rate` over the warm-up, then down to 0."""
        warmup = int(self.warmup_share * num_steps)
        if step < warmup:
            return self.learning_rate * ((step + 1) / warmup)
        return self.learning_rate * ((num_steps - step) / max(num_steps - warmup, 1))


class Learner(Protocol):
    """A torch module of one task, with the way into and out of it. B rows a batch."""

    defaults: TrainingDefaults
    dynamics: tuple[str, ...]
    """Names of the training dynamics of a row: the columns of forward's second value."""
    needs_labels_to_score: bool
    """Whether score takes predictions of batches that hold the labels' targets."""

    def encode(self, contents: Sequence[str]) -> list[Any]:
        """Model input of each row, to be cached; a row at a time must give the same."""

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[Any]:
        """Training target of each row, to be cached."""

    def size(self, encoded: Any) -> int:
        """How much work the row is (tokens, say); rows of like size are predicted together."""

    def collate(self, encoded: Sequence[Any], targets: Sequence[Any] | None = None) -> Tensors:
        """One batch on the CPU; with targets when training, or where score needs them."""

    def __call__(self, batch: Tensors) -> "tuple[torch.Tensor, torch.Tensor]":
        """Loss of each row, [B], differentiable; and its dynamics, [B, len(dynamics)]."""

    def predict(self, batch: Tensors) -> list[Any]:
        """The model's prediction of each row, on the CPU: input to score and decode."""

    def score(
        self, predictions: Sequence[Any], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        """Scored rows: each row's label against its prediction.

        One row for each row and unit, in order: `row` int64 (index in the batch),
        `unit`, `label` (the unit's part), `suggestions` (schemas.SUGGESTION, most
        probable first) and the columns that the task's suspicion, signals and reasons need.
        """

    def decode(self, predictions: Sequence[Any]) -> list[Any]:
        """What the model says of each row, as ModelTask.metrics takes it (a class name, say)."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any: ...


class Ensemble(Protocol):
    """How a task averages the trained model's predictions with those of other models of a row.

    Mining calls moments on each shard of scored rows, learn once, and add_predictions on
    each shard; the task's sums, suspicion and signals then find the added columns.
    """

    def moments(self, scored: pa.Table, classes: Sequence[str], num_folds: int) -> dict[str, Array]:
        """What learn needs of the whole table; moments of shards add up."""

    def learn(
        self, sample: pa.Table, moments: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """The other models and the stacking weights, from a sample of the scored rows."""

    def add_predictions(
        self, scored: pa.Table, learned: Mapping[str, Array], classes: Sequence[str]
    ) -> pa.Table:
        """The scored rows with more columns: predictions of each model and of their average."""


class PredictionForm(Protocol):
    """How predictions of a task that others made are read from a table, and pooled with ours.

    A prediction is what the task's Learner.predict gives of a row. views: of each model, a
    prediction a row, or None where it has none.
    """

    def layout(self, table: pa.Table, classes: Sequence[str]) -> tuple[Any, list[str]]:
        """Which columns hold what, to be passed to read, and what the user should know of it.

        table: the predictions without their ids. Raises InvalidInput where they are not of the
        classes, with counts both ways, or are no numbers.
        """

    def read(self, table: pa.Table, layout: Any, classes: Sequence[str]) -> list[Any]:
        """The prediction of each row of the table."""

    def require_suits(self, predictions: Sequence[Any], contents: Sequence[str]) -> None:
        """Raises InvalidInput, with how many, where predictions are of other contents."""

    def score(
        self,
        predictions: Sequence[Any],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> pa.Table:
        """As Learner.score, without a learner."""

    def columns(self, views: Sequence[Sequence[Any]]) -> dict[str, pa.Array]:
        """VIEW columns for tasks with an Ensemble; none for others."""

    def learn(
        self,
        views: Sequence[Sequence[Any]],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> tuple[dict[str, Array], list[float]]:
        """Weights for pool, and the log-loss of each view alone, calibrated on these rows."""

    def pool(self, views: Sequence[Any], weights: Mapping[str, Array]) -> Any:
        """One row's predictions of each model as one; None where no model has any."""


class ModelTask(Protocol):
    """What a task can do with models."""

    name: str
    ranking_signals: tuple[str, ...]
    """Signals that rows may be ranked by in place of suspicion: in [0, 1], higher is worse."""
    ensemble: Ensemble | None
    """None where suspicion is by the trained model alone."""
    predictions: PredictionForm | None
    """None where predictions of others have no use."""

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        """Write what a learner needs besides weights (a vocabulary, a tokenizer, a config).

        model: Hugging Face id or local path; None for the built-in. contents,
        labels: a sample of the training rows. Raises InvalidInput when `model`
        is not one of this task's.
        """

    def prepare_tokenizer(self, folder: Path, asked: str | None, labels: Sequence[str]) -> str:
        """How texts are cut into tokens where they are compared: written for load, and returned.

        asked: a name; None to choose by the labels, a sample of the training rows. Empty where
        labels are not texts. Raises InvalidInput when the name is not one of this task's.
        """

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> Learner:
        """A learner from what prepare wrote; with the pretrained weights of `model` if asked."""

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        """What suspicion needs of the whole table; sums of shards add up."""

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """P(label is wrong) of each scored row, shape [rows], in [0, 1]; higher is worse."""

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """Named evidence behind the suspicion, each [rows]."""

    def noise_matrix(self, sums: Mapping[str, Array]) -> Array | None:
        """P(label | true class), rows sum to 1, [C, C]; None where labels are not classes."""

    def calibrate(self, scored: pa.Table, sums: Mapping[str, Array]) -> pa.Table:
        """The scored rows as people are shown them: with probabilities that agree with signals.

        sums: of the whole table. For suggestions and reasons; suspicion takes the rows as scored.
        """

    def reasons(self, scored: pa.Table) -> list[str]:
        """Why each row is suspected, in words for the person who looks at it. scored: as calibrate
        gives it."""

    def metrics(
        self, predicted: Sequence[Any], labels: Sequence[str], *, tokenize: str = ""
    ) -> dict[str, float]:
        """Decoded predictions against true labels; the first is the headline. Higher is better.

        tokenize: as prepare_tokenizer returned it; where empty, chosen by the labels.
        """
