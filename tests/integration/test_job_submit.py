"""Jobs as users submit them: `ray job submit --working-dir .` to a cluster of its own."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel_service.tables import delta
from tests.support.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Cluster:
    """A cluster that `ray start --head` started, and how to reach it."""

    dashboard: str
    environment: dict[str, str]

    def submit(self, *entrypoint: str) -> subprocess.CompletedProcess[str]:
        command = [
            *(RAY, "job", "submit", "--address", self.dashboard, "--working-dir", "."),
            *("--entrypoint-num-cpus", "0", "--", *entrypoint),
        ]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))  # Ray's socket paths must be short
    port, dashboard, agent = free_port(), free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # The job's Python is this one, with the project's packages; its code is the upload.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = (folder / "head.log").open("wb")
    head = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"),
            *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
            *("--num-cpus=4", f"--temp-dir={folder}"),
        ],
        env=environment,
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Cluster(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        for process in processes:
            process.kill()
        head.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def write(folder: Path) -> str:
    rows = planted(200, noise=0.15)
    table = pa.table({"key": rows.ids, "body": rows.contents, "topic": rows.labels})
    pq.write_table(table, folder / "train.parquet")
    return str(folder / "train.parquet")


def test_jobs_run_when_submitted_and_fail_with_their_reason(
    cluster: Cluster, tmp_path: Path
) -> None:
    """One submission: each command has its driver, and the next one runs if it succeeded."""
    dataset, model, findings = write(tmp_path), str(tmp_path / "model"), str(tmp_path / "findings")
    columns = "--text-column body --label-column topic"
    train = f"python -m jobs.train --dataset {dataset} {columns}"
    commands = [
        f"{train} --id-column key --out {model} --folds 2",
        f"python -m jobs.mine --dataset {dataset} --training {model} --findings {findings} "
        "--run-id first --budget 10%",
        f"{train} --id-column id --out {tmp_path / 'none'}",
    ]
    done = _when_up(cluster, "sh", "-c", " && ".join(commands))
    assert done.returncode != 0
    trained, mined = _results(done.stdout)
    assert trained["num_rows"] == 200
    assert (mined["num_rows"], mined["num_scored"], mined["num_findings"]) == (200, 200, 20)
    assert delta.read_run(findings, "first").num_rows == 20
    assert "has no column 'id'; it has key, body, topic" in done.stdout + done.stderr


def _when_up(cluster: Cluster, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    """Submit, again while the dashboard does not answer yet."""
    for _ in range(60):
        done = cluster.submit(*entrypoint)
        if "Failed to connect" not in done.stdout + done.stderr:
            break
    return done


def _results(output: str) -> list[dict[str, int]]:
    """The JSON that each job printed, amid the submitter's own lines."""
    return [
        json.loads(found) for found in re.findall(r"^\{$.*?^\}$", output, re.DOTALL | re.MULTILINE)
    ]
