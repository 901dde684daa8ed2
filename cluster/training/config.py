"""How to train."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cluster.data.folds import Folds
from cluster.engine.workers import Workers
from cluster.interfaces import TrainingDefaults
from relabel_service.errors import InvalidInput


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What is None follows the model's own defaults.

    model: Hugging Face id or local path; None for the task's built-in.
    num_folds: 0 fits the one model on every row alone, for when nothing will be mined with it.
    fits_all: whether one more model is fitted on every row; out-of-sample mining needs none.
    batch_size: rows a worker and step.
    lineage_uri: lineage table of the data set (schemas.LINEAGE), to learn from what people decided.
    reviewed_weight: how many times what other rows count a row counts that people have decided;
    1 forgets who decided. Labels that people looked at again are right far oftener than others.
    label_confidence_uri: P(label is correct) of each row, which is its weight; all alike if None.
    tokenize: name of the tokenizer by which texts are compared; None to choose by their script.
    max_failures: how often dead workers are replaced before giving up.
    checkpoint_interval_s: seconds of a run that may be lost with a worker.
    """

    model: str | None = None
    num_folds: int = 5
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    workers: Workers = field(default_factory=Workers)
    lineage_uri: str | None = None
    reviewed_weight: float = 1.0
    label_confidence_uri: str | None = None
    max_failures: int = 2
    checkpoint_interval_s: float = 60.0
    seed: int = 0
    tokenize: str | None = None
    fits_all: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput.of(name, f"{value} is too small; use 1 or more")
        if not 1 <= self.reviewed_weight < math.inf:
            raise InvalidInput.of(
                "reviewed_weight", f"{self.reviewed_weight} is not a weight; use 1 or more"
            )
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise InvalidInput.of(
                "learning_rate", f"{self.learning_rate} is not a rate; use above 0"
            )
        Folds(self.num_folds)

    def to_dict(self) -> dict[str, Any]:
        """What a model depends on: not how many workers there are, nor what feeds them."""
        settings = {name: value for name, value in asdict(self).items() if name != "workers"}
        if self.fits_all:  # trainings of earlier releases say nothing of it
            del settings["fits_all"]
        return settings

    def over(self, defaults: TrainingDefaults) -> TrainingDefaults:
        """The model's defaults, but for what is asked for here."""
        asked = {name: getattr(self, name) for name in ("epochs", "batch_size", "learning_rate")}
        return replace(defaults, **{name: value for name, value in asked.items() if value})
