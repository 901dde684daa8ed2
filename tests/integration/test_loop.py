"""The whole loop as a user runs it: versions get better, and a repetition goes on.

Its tables, models and reports lie in an object store (S3's protocol), its queue beside it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from cluster.data.rows import Source, latest
from cluster.engine.local import LocalEngine
from cluster.io.folder import Folder
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from cluster.training.config import TrainConfig
from cluster.training.train import train
from jobs.loop.__main__ import app
from jobs.loop.gold import gold_labels
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta
from tests.support.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]


def write(folder: Folder, name: str, **planting: Any) -> str:
    rows = planted(**planting)
    table = pa.table(
        {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    folder.write(f"{name}.parquet", sink.getvalue().to_pybytes())
    return folder.address(f"{name}.parquet")


def arguments(folder: Folder, *options: str) -> list[str]:
    return [
        *(
            "--out",
            folder.address("out"),
            "--dataset",
            write(folder, "train", num_rows=300, noise=0.4),
            "--id-column",
            "id",
        ),
        *("--test", write(folder, "test", num_rows=300, noise=0.0, seed=1)),
        *("--folds", "3", "--top", "60"),
        *("--port", str(free_port()), "--http-port", str(free_port()), *options),
    ]


def run_loop(folder: Folder, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.loop", *arguments(folder, *options)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)


def refused(folder: Folder, *options: str) -> str:
    """Why the command does not begin; how an error ends the process: test_start.py."""
    with pytest.raises(InvalidInput) as raised:
        CliRunner().invoke(app, arguments(folder, *options), catch_exceptions=False)
    return str(raised.value)


def test_rounds_mend_labels_and_the_next_model_is_better(bucket: str, tmp_path: Path) -> None:
    folder = Folder(f"{bucket}/runs/first")
    options = (
        *("--queue", f"sqlite:///{tmp_path}/queue.db", "--rounds", "2", "--train-every", "2"),
        *("--gold-column", "gold", "--error-rate", "0.05", "--audit", "60"),
        *("--dev", write(folder, "dev", num_rows=100, noise=0.0, seed=2)),
        *("--reviewed-weight", "1", "--reviewed-weight", "4", "--each-copy"),
    )
    done = run_loop(folder, *options, "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert "engine: ray (--engine ray)" in done.stderr
    out = Folder(folder.address("out"))
    told = json.loads(out.read("report.json"))
    first, second, third = told["rounds"]
    assert [one["version"] for one in told["rounds"]] == ["v1", "v2", "v3"]
    assert (first["reviewed_weight"], second["reviewed_weight"]) == (1, None)
    assert third["reviewed_weight"] in (1, 4)
    assert first["num_leased"] == second["num_leased"] == 60
    assert first["precision"] > 0.7
    assert second["num_wrong"] < first["num_wrong"] - 40
    assert third["num_wrong"] < second["num_wrong"] - 30
    # The second round asks by the first's model and answers, audited ones among them.
    assert (first["mined"]["num_feedback"], second["mined"]["num_feedback"]) == (0, 60 + 60)
    assert second["mined"]["num_reused"] == 300
    assert second["metrics"] == {}
    accuracy = [one["metrics"]["test"]["accuracy"] for one in (first, third)]
    assert accuracy[0] < accuracy[1] <= told["ceiling"]["test"]["accuracy"] + 0.02
    assert "ceiling" in done.stdout
    stages = {stage["name"]: stage for stage in told["stages"]}
    assert {"v1 train", "v1 mine", "v1 label", "v1 merge", "v2 mine", "v3 train"} <= stages.keys()
    assert "v2 train" not in stages
    assert not out.names("findings/_runs/round-1/scored", ".parquet")  # nobody needs them now
    assert all(stage["seconds"] > 0 and stage["peak_bytes"] > 2**20 for stage in stages.values())

    page = out.read("report.html").decode()
    assert "What the loop brought" in page
    assert 'src="http' not in page  # the plot library is within
    assert page.count("<dt>decided</dt>") == 30 + 30  # of each round the worst
    assert "<small> changed</small>" in page

    # The versions, by time travel, and the lineage of what differs.
    dataset = out.address("dataset")
    before, after = (
        {row["id"]: row["label"] for row in DeltaTable(dataset, version=version)
         .to_pyarrow_table(columns=["id", "label"]).to_pylist()}
        for version in (first["merged"]["version_before"], second["merged"]["version"])
    )  # fmt: skip
    lineage = {row["id"]: row for row in delta.read_where(out.address("lineage"), {}).to_pylist()}
    assert len(lineage) == 2 * (60 + 60)  # what was found, and what was audited
    left = first["quality"]["errors_left"]
    assert left["by_audit"]
    assert left["low"] <= left["expected"] <= left["high"] <= 180
    assert sum(first["mined"]["unasked_histogram"]) == 240
    for name, label in before.items():
        if after[name] != label:
            assert (lineage[name]["previous_label"], lineage[name]["new_label"]) == (
                label,
                after[name],
            )
            assert lineage[name]["labelers"] == ["gold-1"]

    # Nobody is asked again, though the queue is lost; what there is to do here needs no Ray.
    for file in tmp_path.glob("queue.db*"):
        file.unlink()
    again = CliRunner().invoke(app, arguments(folder, *options), catch_exceptions=False)
    assert again.exit_code == 0, again.output
    assert not list(tmp_path.glob("queue.db*"))
    retold = json.loads(out.read("report.json"))
    assert {**retold, "stages": told["stages"]} == told


def test_without_ray_the_object_store_is_read_and_written(bucket: str) -> None:
    folder = Folder(f"{bucket}/runs/local")
    dataset = write(folder, "train", num_rows=200, noise=0.2)
    source = latest(Source(dataset, "text_classification", ("text",), "label", "id"))
    train(source, TrainConfig(num_folds=2), folder.address("model"), LocalEngine())
    config = MineConfig(
        source=source,
        store_uri=folder.address("model"),
        findings_uri=folder.address("findings"),
        quarantine_uri=folder.address("quarantine"),
        run_id="run",
        selection=Selection(top=20),
    )
    assert mine(config, LocalEngine()).num_findings == 20
    gold = gold_labels(source, "gold")
    found = delta.read_run(config.findings_uri, "run").to_pylist()
    assert sum(row["human_label"] != gold[row["id"]] for row in found) > 0.7 * len(found)


def test_weights_are_chosen_on_dev_alone(tmp_path: Path) -> None:
    options = ("--gold-column", "gold", "--reviewed-weight", "1", "--reviewed-weight", "4")
    told = refused(Folder(str(tmp_path)), *options)
    assert "reviewed_weight: has 2 values and no table to choose on" in told


def test_gold_labelers_need_gold(tmp_path: Path) -> None:
    assert "gold_column: is not given" in refused(Folder(str(tmp_path)))


def test_the_queue_cannot_lie_in_an_object_store(bucket: str) -> None:
    told = refused(Folder(f"{bucket}/runs"), "--gold-column", "gold")
    assert "queue: cannot lie in 's3://noise/runs/out'" in told
