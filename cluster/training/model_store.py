"""What a training leaves behind: a folder that inference reads and a restart continues.

    settings.json       what was asked; another request for the same folder is refused
    prepared/           the task's vocabulary, tokenizer or configuration
    runs/<run>.pt       weights; one file when one run is finished
    observed/*.parquet  what training watched in each row
    manifest.json       written last: the training is whole

A run is `fold-<k>`, trained on every fold but k, or `all`, trained on every row.
"""

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.data.folds import Folds
from cluster.data.rows import Source
from cluster.interfaces import Learner
from cluster.io.folder import Folder
from cluster.tasks import model_task
from relabel_service.errors import AlreadyExists, NotFound, WrongState

ALL = "all"
MANIFEST, SETTINGS, PREPARED = "manifest.json", "settings.json", "prepared"


def fold_run(fold: int) -> str:
    return f"fold-{fold}"


@dataclass(frozen=True)
class Manifest:
    """What inference must know of a training.

    num_rows: valid rows, which are trained on. near_duplicates: pairs of id keys, as Folds takes
    them.
    tokenize: how texts are cut into tokens where they are compared; empty where labels are none.
    warnings: what looks odd in the table's labels, and which rows are left out (TableProfile).
    training_id: differs from that of any other training, the same settings again included.
    """

    source: Source
    model: str | None
    classes: tuple[str, ...]
    num_folds: int
    num_rows: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    near_duplicates: tuple[tuple[int, int], ...] = ()
    training_id: str = ""
    tokenize: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def folds(self) -> Folds:
        pairs = np.array(self.near_duplicates, np.uint64).reshape(-1, 2)
        return Folds(self.num_folds, pairs)

    @property
    def runs(self) -> list[str]:
        folds = [fold_run(fold) for fold in range(self.num_folds)]
        return [*folds, ALL] if self.settings.get("fits_all", True) else folds


class ModelStore:
    """The folder of one training."""

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Make the folder this training's own. Raises AlreadyExists when it is another's."""
        text = json.dumps(settings, indent=2, sort_keys=True)
        if not self.folder.exists(SETTINGS):
            self.folder.write(SETTINGS, text.encode())
        elif json.loads(self.folder.read(SETTINGS)) != json.loads(text):
            raise AlreadyExists(
                f"{self.folder.uri!r} holds a training with other settings ({SETTINGS} has them); "
                "name another folder, or remove it"
            )

    def finish(self, manifest: Manifest) -> None:
        self.folder.write(MANIFEST, json.dumps(asdict(manifest), indent=2).encode())

    def manifest(self) -> Manifest:
        """Raises NotFound when there is no finished training."""
        if not self.folder.exists(MANIFEST):
            raise NotFound(
                f"{self.folder.uri!r} holds no finished training; run jobs.train with it as --out"
            )
        fields = json.loads(self.folder.read(MANIFEST))
        source = fields.pop("source")
        return Manifest(
            **{
                **fields,
                "source": Source.from_dict(source),
                "classes": tuple(fields["classes"]),
                "warnings": tuple(fields.get("warnings", ())),
                "near_duplicates": tuple((row, group) for row, group in fields["near_duplicates"]),
            }
        )

    def is_finished(self) -> bool:
        return self.folder.exists(MANIFEST)

    def finished_runs(self) -> list[str]:
        return [name.rpartition("/")[2] for name in self.folder.names("runs", ".pt")]

    def has_run(self, run: str) -> bool:
        return self.folder.exists(_weights(run))

    def save_run(self, run: str, learner: Learner) -> None:
        data = io.BytesIO()
        torch.save(learner.state_dict(), data)
        self.folder.write(_weights(run), data.getvalue())

    def load_runs(self, manifest: Manifest, runs: list[str]) -> dict[str, Learner]:
        """Learners with the weights of finished runs, on the CPU.

        Raises WrongState when another release of this program, whose model differs, trained them.
        """
        learners = {}
        for run in runs:
            learner = self.load_learner(manifest.source.task, manifest.model, manifest.classes)
            data = io.BytesIO(self.folder.read(_weights(run)))
            weights = torch.load(data, map_location="cpu", weights_only=True)
            try:
                learner.load_state_dict(weights)
            except RuntimeError as error:  # keys or shapes differ
                raise WrongState(
                    f"the weights of {run!r} under {self.folder.uri!r} are of another model than "
                    "this release has for the task; train anew, under another address"
                ) from error
            learners[run] = learner
        return learners

    def load_learner(
        self, task: str, model: str | None, classes: tuple[str, ...], *, pretrained: bool = False
    ) -> Learner:
        """A learner from what the task prepared."""
        with tempfile.TemporaryDirectory() as local:
            self.folder.download(PREPARED, Path(local))
            return model_task(task).load(
                Path(local), model=model, classes=classes, pretrained=pretrained
            )


def _weights(run: str) -> str:
    return f"runs/{run}.pt"
