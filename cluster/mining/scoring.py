"""How a row is scored: the suspicion that it is ranked by, and the signals behind it.

Pure functions over tables of scored rows; reads no files. R rows.
"""

from dataclasses import dataclass, field

import pyarrow as pa

from cluster.interfaces import Array, Ensemble
from cluster.mining.feedback_data import BY_MODELS, evidence_from, groups_of
from cluster.scores.feedback import Feedback
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput

Sums = dict[str, Array]


@dataclass(frozen=True)
class Scoring:
    """Which suspicion ranks the rows.

    disagreement: the signal to rank by; None for the task's own suspicion.
    num_folds: of the training; 0 ranks by the trained model alone, without an ensemble.
    feedback: what people's decisions have taught about suspicion; has no say in a disagreement.
    """

    task: str
    classes: tuple[str, ...]
    disagreement: str | None = None
    num_folds: int = 0
    feedback: Feedback = field(default_factory=Feedback)

    def __post_init__(self) -> None:
        if self.disagreement is None:
            return
        allowed = model_task(self.task).ranking_signals
        if self.disagreement not in allowed:
            next_step = f"use one of {', '.join(allowed)}" if allowed else "leave it out"
            raise InvalidInput.of(
                "disagreement", f"{self.disagreement!r} is not one of {self.task}; {next_step}"
            )

    @property
    def ensemble(self) -> Ensemble | None:
        """The task's, where this run ranks by it."""
        is_asked = self.num_folds and self.disagreement is None
        return model_task(self.task).ensemble if is_asked else None

    def suspicion(self, scored: pa.Table, sums: Sums) -> Array:
        """How likely each label is wrong, [R], in [0, 1]; higher is worse."""
        if self.disagreement is not None or not self.feedback.num_answers:
            return self._by_models(scored, sums)
        group = groups_of(self.task, scored["label"].to_pylist(), scored["unit"].to_pylist())
        return self.feedback.p_wrong(evidence_from(self.signals(scored, sums), group))

    def signals(self, scored: pa.Table, sums: Sums) -> dict[str, Array]:
        """The task's signals, and its suspicion before feedback had a say; [R] each."""
        signals = model_task(self.task).signals(scored, sums, self.classes)
        if self.disagreement is not None:
            return signals
        return signals | {BY_MODELS: self._by_models(scored, sums)}

    def _by_models(self, scored: pa.Table, sums: Sums) -> Array:
        task = model_task(self.task)
        if self.disagreement is not None:
            return task.signals(scored, sums, self.classes)[self.disagreement]
        return task.suspicion(scored, sums, self.classes)
