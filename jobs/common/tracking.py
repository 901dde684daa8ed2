"""What a job did, as a run of an experiment tracker: parameters, metrics, artifacts, tags.

`--track mlflow` writes to where MLflow's own variables say (MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME). A job that is repeated goes on in its run: the tag `relabel.key`
names what the job writes. MLflow is imported only where it is asked for.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from relabel_service.errors import InvalidInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "relabel"  # where MLFLOW_EXPERIMENT_NAME names none
KEY, KEY_HASH = "relabel.key", "relabel.key_hash"  # searches take no quotes in values (3.17)
DELTA_VERSION = "delta_version"
NOT_ALLOWED = r"[^\w\-./ ]"  # of a metric's name
MAX_PARAMETER = 6_000  # characters; MLflow's own limit (3.17)


class Tracker(StrEnum):
    """Where runs are recorded."""

    MLFLOW = "mlflow"


TrackOption = Annotated[
    Tracker | None,
    typer.Option(
        "--track",
        help="record parameters, metrics and reports as a run there (MLFLOW_TRACKING_URI)",
        show_default=False,
    ),
]


class TrackedRun(Protocol):
    """One run. What is recorded again, by a job that was repeated, must be the same."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """What was asked; nested values under dotted names, those that are None left out."""

    def metrics(self, values: Mapping[str, float | None], *, step: int = 0) -> None:
        """Figures; those that are None left out. step: of several, such as a round."""

    def tags(self, values: Mapping[str, Any]) -> None: ...

    def artifact(self, name: str, text: str) -> None:
        """A file of text, such as a report."""

    def child(self, key: str, name: str) -> "TrackedRun":
        """A run below this one, ended when this one ends."""


class _Untracked:
    """Records nothing."""

    def parameters(self, values: Mapping[str, Any]) -> None: ...

    def metrics(self, values: Mapping[str, float | None], *, step: int = 0) -> None: ...

    def tags(self, values: Mapping[str, Any]) -> None: ...

    def artifact(self, name: str, text: str) -> None: ...

    def child(self, key: str, name: str) -> TrackedRun:
        return self


class _MlflowRun:
    """A run of MLflow."""

    def __init__(
        self, client: "MlflowClient", experiment: str, key: str, name: str, parent: str = ""
    ) -> None:
        self._client, self._experiment, self._key = client, experiment, key
        self._children: list[_MlflowRun] = []
        key_hash = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        is_it = f"tags.`{KEY_HASH}` = '{key_hash}'"
        found = client.search_runs([experiment], is_it, max_results=1)
        if found:
            self.id = found[0].info.run_id
            client.update_run(self.id, status="RUNNING")
        else:
            tags = {KEY: key, KEY_HASH: key_hash} | (
                {"mlflow.parentRunId": parent} if parent else {}
            )
            self.id = client.create_run(experiment, tags=tags, run_name=name).info.run_id

    def parameters(self, values: Mapping[str, Any]) -> None:
        with _refused():
            for name, value in flat(values).items():
                self._client.log_param(self.id, name, str(value)[:MAX_PARAMETER])

    def metrics(self, values: Mapping[str, float | None], *, step: int = 0) -> None:
        with _refused():
            for name, value in values.items():
                if value is not None:
                    allowed = re.sub(NOT_ALLOWED, "_", name)
                    self._client.log_metric(self.id, allowed, float(value), step=step)

    def tags(self, values: Mapping[str, Any]) -> None:
        with _refused():
            for name, value in values.items():
                if value is not None:
                    self._client.set_tag(self.id, name, value)

    def artifact(self, name: str, text: str) -> None:
        with _refused():
            self._client.log_text(self.id, text, name)

    def child(self, key: str, name: str) -> "_MlflowRun":
        with _refused():
            run = _MlflowRun(self._client, self._experiment, f"{self._key}#{key}", name, self.id)
        self._children.append(run)
        return run

    def end(self, status: str) -> None:
        with _refused():
            for run in (*self._children, self):
                self._client.set_terminated(run.id, status)


@contextmanager
def tracked(tracker: Tracker | None, job: str, key: str) -> Iterator[TrackedRun]:
    """Within it, the job's run, marked failed where an error leaves it.

    key: names what the job writes, so that its repetition is the same run.
    Raises InvalidInput where the tracker is not installed or not reached.
    """
    if tracker is None:
        yield _Untracked()
        return
    run = _mlflow_run(f"{job}:{key}", job)
    try:
        yield run
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def _mlflow_run(key: str, name: str) -> _MlflowRun:
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise InvalidInput.of(
            "--track",
            "mlflow needs the library of that name; pip install 'relabel-service[track]', or leave "
            "--track out",
        ) from None
    with _refused():
        client = MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        return _MlflowRun(client, experiment_id, key, name)


@contextmanager
def _refused() -> Iterator[None]:
    """Within it, what MLflow refuses is told as InvalidInput."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        said = str(error).partition("\n")[0]
        raise InvalidInput.of(
            "--track",
            f"mlflow refuses: {said} (MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where it "
            "records; what the job did is done, and --track may be left out)",
        ) from None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings under dotted names; None is left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found
