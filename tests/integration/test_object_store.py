"""A whole loop whose every table, model and report lies in an object store (S3's protocol)."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from cluster.storage import Folder
from relabel_service import tables
from tests.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket in a store of its own, which the environment tells how to reach."""
    port = free_port()
    # In a process of its own: a call of delta-rs holds the interpreter that would answer it.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as store:
        assert store.stderr is not None
        while b"Running on" not in store.stderr.readline():
            assert store.poll() is None, "the store did not start"
        drain = threading.Thread(target=store.stderr.read)  # lest the pipe fill
        drain.start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():
            monkeypatch.setenv(name, value)
        files = pyarrow.fs.S3FileSystem(
            endpoint_override=f"http://127.0.0.1:{port}", allow_bucket_creation=True
        )
        files.create_dir("noise")
        yield "s3://noise"
        store.terminate()
        drain.join()


def put(folder: Folder, name: str, num_rows: int, *, noise: float, seed: int) -> str:
    rows = planted(num_rows, noise=noise, seed=seed)
    table = pa.table(
        {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    folder.write(name, sink.getvalue().to_pybytes())
    return folder.address(name)


def run_loop(*options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "jobs.loop", *options, "--id-column", "id"),
        *("--gold-column", "gold", "--rounds", "1", "--folds", "2", "--top", "60"),
        *("--port", str(free_port()), "--http-port", str(free_port())),
    ]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)


def test_a_loop_reads_and_writes_an_object_store(bucket: str, tmp_path: Path) -> None:
    data, out = Folder(f"{bucket}/data"), Folder(f"{bucket}/runs/first")
    train = put(data, "train.parquet", 200, noise=0.3, seed=0)
    test = put(data, "test.parquet", 100, noise=0.0, seed=1)
    done = run_loop(
        *("--dataset", train, "--test", test, "--out", out.uri),
        *("--queue", f"sqlite:///{tmp_path}/queue.db"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(out.read("report.json"))
    assert told["rounds"][0]["mined"]["num_rows"] == 200
    changed = told["rounds"][0]["merged"]["num_changed"]
    assert told["rounds"][1]["num_wrong"] == told["rounds"][0]["num_wrong"] - changed
    assert changed > 30
    assert DeltaTable(out.address("dataset")).version() == told["rounds"][0]["merged"]["version"]
    assert tables.read_run(out.address("findings"), "round-1").num_rows == 60


def test_the_queue_cannot_lie_in_an_object_store(tmp_path: Path) -> None:
    done = run_loop("--dataset", str(tmp_path / "no.parquet"), "--out", "s3://noise/runs")
    assert done.returncode == 1
    assert "queue: cannot lie in 's3://noise/runs'" in done.stderr
