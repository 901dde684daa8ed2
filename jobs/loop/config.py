"""What a loop is to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.data.rows import Source
from cluster.inference.predict import InferenceConfig
from cluster.mining.selection import Selection
from cluster.training.config import TrainConfig
from cluster.versions.merge import Consensus
from jobs.loop.quality import StopRule
from relabel_service.errors import InvalidInput


@dataclass(frozen=True)
class LoopConfig:
    """What to run.

    source: a Delta table; its label column is what the rounds change.
    gold_column: true labels in the same table, for measuring alone; None when unknown.
    tests: name -> data set with true labels in its label column, never trained on.
    train_every: rounds for each training; in the rounds between, the answers alone rank anew the
    rows that nobody was asked about.
    reviewed_weights: TrainConfig.reviewed_weight, from the second version on; of several, the
    value whose model is best on the test named `choose_on`, by the task's first metric.
    encoder, num_audit: as in MineConfig; audited rows are asked about among the findings, and
    labelers cannot tell them apart.
    feedback: whether the answers that people have given take part in the ranking.
    each_copy: as MineConfig.
    label_confidence: whether from the second version on a row's weight in training is
    P(label is correct), by the round before; rows that people have decided weigh in full.
    stop_rule: when to end before num_rounds.
    """

    source: Source
    out: str
    num_rounds: int
    training: TrainConfig
    selection: Selection
    inference: InferenceConfig
    gold_column: str | None
    tests: Mapping[str, Source]
    votes_required: int = 1
    train_every: int = 1
    reviewed_weights: tuple[float, ...] = (1.0,)
    choose_on: str | None = None
    consensus: Consensus = Consensus.MAJORITY
    encoder: str | None = None
    num_audit: int = 0
    feedback: bool = True
    each_copy: bool = False
    label_confidence: bool = True
    stop_rule: StopRule = field(default_factory=StopRule)

    def __post_init__(self) -> None:
        if self.train_every < 1:
            raise InvalidInput.of("train_every", f"{self.train_every} rounds; give 1 or more")
        if len(self.reviewed_weights) > 1 and self.choose_on not in self.tests:
            raise InvalidInput.of(
                "reviewed_weight",
                f"has {len(self.reviewed_weights)} values and no table to choose on; name one with "
                "--dev, or give one value",
            )
