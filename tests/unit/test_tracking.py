"""`--track mlflow`: what jobs record, in a file store of MLflow's own."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from cluster.data.rows import Source
from cluster.inference.evaluate import Coverage, Evaluation
from cluster.inference.predict import InferenceConfig
from cluster.mining.selection import Selection
from cluster.training.config import TrainConfig
from jobs import mine, train
from jobs.common.tracking import EXPERIMENT, KEY, Tracker, flat, tracked
from jobs.loop.config import LoopConfig
from jobs.loop.rounds import Round
from jobs.loop.tracking import record_loop, record_round
from relabel_service.errors import InvalidInput

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    from mlflow import MlflowClient

    store = f"file://{tmp_path / 'mlruns'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # since 3.17 it asks for this
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return MlflowClient(store)


def runs(client: "MlflowClient") -> list[Any]:
    """The latest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def text_of(client: "MlflowClient", run: Any, name: str, tmp_path: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, name, str(tmp_path))).read_text("utf-8")


def invoke(job: Any, *arguments: object) -> Any:
    done = CliRunner().invoke(job.app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    uri = str(tmp_path / "data")
    draw = random.Random(0)
    others = [" ".join(draw.choices("abcdefgh", k=9)) for _ in range(40)]
    texts = [f"{word} {other}" for word, other in zip(["fine", "awful"] * 20, others, strict=True)]
    labels = ["pos", "neg"] * 20
    labels[0] = "neg"
    write_deltalake(uri, pa.table({"text": texts, "label": labels, "gold": ["pos", "neg"] * 20}))
    return uri


def test_training_and_mining_are_runs(client: "MlflowClient", dataset: str, tmp_path: Path) -> None:
    model, findings = tmp_path / "model", tmp_path / "findings"
    trained = ("--dataset", dataset, "--out", model, "--folds", 2, "--test", dataset)
    invoke(train, *trained, "--track", "mlflow")
    invoke(train, *trained, "--track", "mlflow")
    invoke(mine, "--dataset", dataset, "--training", model, "--findings", findings,
           "--run-id", "r1", "--top", 3, "--track", "mlflow")  # fmt: skip
    mining, training = runs(client)  # a repeated job is the same run
    assert training.info.status == mining.info.status == "FINISHED"
    assert training.data.tags[KEY] == f"train:{model}"
    assert training.data.tags["delta_version"] == "0"
    assert training.data.params["num_folds"] == "2"
    assert training.data.params["dataset"] == dataset
    assert training.data.metrics["num_rows"] == 40
    assert 0.5 < training.data.metrics["test.accuracy"] <= 1
    result = json.loads(text_of(client, training, "result.json", tmp_path))
    assert result["test"]["accuracy"] == training.data.metrics["test.accuracy"]
    assert mining.data.params["selection.top"] == "3"
    assert mining.data.metrics["num_findings"] == 3
    assert "fine" in text_of(client, mining, "findings.html", tmp_path)


def test_each_version_of_a_loop_is_a_run_below_it(client: "MlflowClient", tmp_path: Path) -> None:
    source = Source("data", "text_classification", ("text",), "label")
    config = LoopConfig(
        source, "out", 2, TrainConfig(), Selection(top=5), InferenceConfig(), "gold", {}
    )
    with tracked(Tracker.MLFLOW, "loop", "out") as record:
        record_loop(record, config)
        for number, value in ((1, 0.5), (2, 0.75)):
            metrics = {
                "test": Evaluation({"accuracy": value, "f1 @50%": value}, Coverage(9, 0, ""))
            }
            record_round(record, number, Round(f"v{number}", number - 1, metrics, num_wrong=9))
        record.artifact("report.html", "<p>page</p>")
    by_name = {run.info.run_name: run for run in runs(client)}
    assert set(by_name) == {"loop", "v1", "v2"}
    loop, second = by_name["loop"], by_name["v2"]
    assert second.data.tags["mlflow.parentRunId"] == loop.info.run_id
    assert second.data.tags["delta_version"] == "1"
    assert second.data.metrics["test.accuracy"] == 0.75
    assert second.data.metrics["test.f1 _50_"] == 0.75  # MLflow takes no @ and %
    history = client.get_metric_history(loop.info.run_id, "test.accuracy")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.75)]
    assert loop.data.params["selection.top"] == "5"
    assert text_of(client, loop, "report.html", tmp_path) == "<p>page</p>"
    assert {run.info.status for run in by_name.values()} == {"FINISHED"}


def test_a_job_that_fails_is_a_failed_run_and_goes_on_when_repeated(client: "MlflowClient") -> None:
    def work(*, fails: bool) -> None:
        with tracked(Tracker.MLFLOW, "mine", "it's here") as record:
            record.parameters({"a": 1})
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work(fails=True)
    [run] = runs(client)
    assert run.info.status == "FAILED"
    work(fails=False)
    [again] = runs(client)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")


def test_what_mlflow_refuses_is_a_sentence(client: "MlflowClient") -> None:
    with tracked(Tracker.MLFLOW, "mine", "a") as record:
        record.parameters({"a": 1})
        with pytest.raises(InvalidInput, match=r"--track: mlflow refuses: .*MLFLOW_TRACKING_URI"):
            record.parameters({"a": 2})


def test_nothing_is_recorded_unless_it_is_asked_for(client: "MlflowClient") -> None:
    with tracked(None, "mine", "a") as record:
        record.child("v1", "v1").metrics({"a": 1})
    assert runs(client) == []


def test_without_mlflow_a_job_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from jobs.common.tracking import Tracker, tracked\n"
        "with tracked(Tracker.MLFLOW, 'mine', 'a'): pass"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'relabel-service[track]'" in done.stderr.splitlines()[-1]


def test_nested_values_have_dotted_names() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None, "e": 2}}, "f": "g"}) == {
        "a.b": 1, "a.c.e": 2, "f": "g"
    }  # fmt: skip
