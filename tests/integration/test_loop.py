"""The whole loop as a user runs it: versions get better, and a repetition goes on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from relabel_service import tables
from tests.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]


def write(folder: Path, name: str, **planting: Any) -> str:
    rows = planted(**planting)
    table = pa.table(
        {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    )
    pq.write_table(table, folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def run_loop(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "jobs.loop", "--out", str(folder / "out")),
        *("--dataset", write(folder, "train", num_rows=300, noise=0.4), "--id-column", "id"),
        *("--test", write(folder, "test", num_rows=300, noise=0.0, seed=1)),
        *("--rounds", "1", "--folds", "3", "--top", "120"),
        *("--port", str(free_port()), "--http-port", str(free_port()), *options),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_round_mends_labels_and_the_next_model_is_better(tmp_path: Path) -> None:
    done = run_loop(tmp_path, "--gold-column", "gold", "--error-rate", "0.05")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    told = json.loads((out / "report.json").read_text())
    first, second = told["rounds"]
    assert (first["version"], second["version"]) == ("v1", "v2")
    assert first["num_leased"] == 120
    assert first["precision"] > 0.7
    assert second["num_wrong"] < first["num_wrong"] - 60
    accuracy = [one["metrics"]["test"]["accuracy"] for one in told["rounds"]]
    assert accuracy[0] < accuracy[1] <= told["ceiling"]["test"]["accuracy"] + 0.02
    assert "ceiling" in done.stdout
    stages = {stage["name"]: stage for stage in told["stages"]}
    assert {"v1 train", "v1 mine", "v1 label", "v1 merge", "v2 train"} <= stages.keys()
    assert all(stage["seconds"] > 0 and stage["peak_bytes"] > 2**20 for stage in stages.values())

    page = (out / "report.html").read_text()
    assert "What the loop brought" in page
    assert 'src="http' not in page  # the plot library is within

    # The versions, by time travel, and the lineage of what differs.
    dataset = str(out / "dataset")
    before, after = (
        {row["id"]: row["label"] for row in DeltaTable(dataset, version=version)
         .to_pyarrow_table(columns=["id", "label"]).to_pylist()}
        for version in (first["merged"]["version_before"], first["merged"]["version"])
    )  # fmt: skip
    lineage = {row["id"]: row for row in tables.read_where(str(out / "lineage"), {}).to_pylist()}
    assert len(lineage) == 120
    for name, label in before.items():
        if after[name] != label:
            assert (lineage[name]["previous_label"], lineage[name]["new_label"]) == (
                label,
                after[name],
            )
            assert lineage[name]["labelers"] == ["gold-1"]

    again = run_loop(tmp_path, "--gold-column", "gold", "--error-rate", "0.05")
    assert again.returncode == 0, again.stderr
    retold = json.loads((out / "report.json").read_text())
    assert {**retold, "stages": told["stages"]} == told


def test_gold_labelers_need_gold(tmp_path: Path) -> None:
    done = run_loop(tmp_path)
    assert done.returncode == 1
    assert "gold_column: is not given" in done.stderr
