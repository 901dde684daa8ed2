"""Training on Ray Train: survives a killed worker, shares the work, refuses what cannot be."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.data.folds import id_keys
from cluster.data.rows import Source, latest
from cluster.engine.devices import Workers
from cluster.engine.ray import RayEngine
from cluster.inference.evaluate import evaluate
from cluster.inference.predict import InferenceConfig
from cluster.io.folder import Folder
from cluster.io.shards import write_shard
from cluster.training.config import TrainConfig
from cluster.training.model_store import ModelStore
from cluster.training.sample_weights import DONE, P_CORRECT, SHARDS
from cluster.training.train import train
from relabel_service.errors import AlreadyExists, InvalidInput, NotFound
from relabel_service.tables import delta, schemas
from tests.integration.conftest import TRAINING, Trained
from tests.tasks.test_text_classification import planted

PAIRS = {"red red": "blue blue", "blue blue": "red red"}


def write(folder: Path, name: str, **planting: Any) -> Source:
    rows = planted(**planting)
    table = pa.table({"id": rows.ids, "text": rows.contents, "label": rows.labels})
    pq.write_table(table, folder / f"{name}.parquet")
    return latest(
        Source(str(folder / f"{name}.parquet"), "text_classification", ("text",), "label", "id")
    )


def training_workers() -> list[psutil.Process]:
    """Ray Train's worker processes of this session."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any("RayTrainWorker" in part for part in _command(process))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def test_a_killed_worker_is_replaced_and_finished_runs_are_kept(
    ray_cluster: None, tmp_path: Path
) -> None:
    source = write(tmp_path, "train", num_rows=300, noise=0.1)
    store = ModelStore(str(tmp_path / "model"))
    killed = threading.Event()
    first_run: list[bytes] = []

    def kill_once_a_run_is_finished() -> None:
        while not store.finished_runs():
            if finished.wait(0.05):
                return
        first_run.append(store.folder.read("runs/fold-0.pt"))
        for process in training_workers():
            process.kill()
            killed.set()

    finished = threading.Event()
    killer = threading.Thread(target=kill_once_a_run_is_finished)
    killer.start()
    settings = TrainConfig(num_folds=3, epochs=6, checkpoint_interval_s=0.0)
    try:
        manifest = train(source, settings, str(tmp_path / "model"), RayEngine())
    finally:
        finished.set()
        killer.join()
    assert killed.is_set()
    assert store.finished_runs() == ["all.pt", "fold-0.pt", "fold-1.pt", "fold-2.pt"]
    assert store.folder.read("runs/fold-0.pt") == first_run[0]
    assert manifest.num_rows == 300
    test = write(tmp_path, "test", num_rows=200, noise=0.0, seed=1)
    metrics = evaluate(str(tmp_path / "model"), {"test": test}, InferenceConfig(), RayEngine())
    assert metrics["test"]["accuracy"] > 0.95


def test_two_workers_share_every_row_and_count_it_by_its_label_confidence(
    ray_cluster: None, tmp_path: Path
) -> None:
    source = write(tmp_path, "train", num_rows=301, noise=0.45)
    planting = planted(num_rows=301, noise=0.45)
    wrong = [
        name
        for name, label, gold in zip(planting.ids, planting.labels, planting.gold, strict=True)
        if label != gold
    ]
    doubted = pa.table({"key": id_keys(wrong), P_CORRECT: np.zeros(len(wrong), np.float32)})
    uri = str(tmp_path / "label_confidence")
    settings = TrainConfig(num_folds=2, workers=Workers(2), label_confidence_uri=uri)
    with pytest.raises(NotFound, match=r"no label confidence at .*; have jobs.mine write it"):
        train(source, settings, str(tmp_path / "model"), RayEngine())
    write_shard(Folder(uri), f"{SHARDS}/0.parquet", doubted)
    Folder(uri).write(DONE, b'{"unasked_histogram": []}')
    manifest = train(source, settings, str(tmp_path / "model"), RayEngine())
    folder = ModelStore(str(tmp_path / "model")).folder
    seen = [
        pq.read_table(folder.address(name)).to_pylist()
        for name in folder.names("observed", ".parquet")
        if "/all-" in name
    ]
    assert len(seen) == 2
    ids = [row["id"] for part in seen for row in part]
    assert sorted(ids) == sorted(f"row-{place}" for place in range(301))
    assert all(row["num_epochs"] >= 6 for part in seen for row in part)
    test = write(tmp_path, "test", num_rows=200, noise=0.0, seed=1)
    metrics = evaluate(str(tmp_path / "model"), {"test": test}, InferenceConfig(), RayEngine())
    assert metrics["test"]["accuracy"] > 0.95
    assert manifest.runs == ["fold-0", "fold-1", "all"]


def test_a_finished_training_is_told_and_not_repeated(trained: Trained) -> None:
    store = ModelStore(trained.store_uri)
    before = store.folder.read("runs/all.pt")
    assert train(trained.source, TRAINING, trained.store_uri, RayEngine()) == store.manifest()
    assert store.folder.read("runs/all.pt") == before


def test_another_training_in_the_same_folder_is_refused(trained: Trained) -> None:
    with pytest.raises(AlreadyExists, match="other settings"):
        train(trained.source, TrainConfig(num_folds=4), trained.store_uri, RayEngine())


def test_a_table_with_one_class_cannot_be_trained_on(ray_cluster: None, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": ["x", "y"], "label": ["one", "one"]}),
        tmp_path / "data.parquet",
    )
    source = Source(str(tmp_path / "data.parquet"), "text_classification", ("text",), "label", "id")
    with pytest.raises(InvalidInput, match="one class 'one'"):
        train(latest(source), TrainConfig(), str(tmp_path / "model"), RayEngine())


def test_a_table_without_a_fit_row_is_refused_with_its_faults(
    ray_cluster: None, tmp_path: Path
) -> None:
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": ["", " "], "label": ["one", "two"]}),
        tmp_path / "data.parquet",
    )
    source = Source(str(tmp_path / "data.parquet"), "text_classification", ("text",), "label", "id")
    with pytest.raises(InvalidInput, match=r"none of 2 rows is fit .* text: is empty"):
        train(latest(source), TrainConfig(), str(tmp_path / "model"), RayEngine())


def test_what_people_decided_counts_more(ray_cluster: None, tmp_path: Path) -> None:
    """Of alike texts most are labelled one way, and those that people decided the other way."""
    rows = [
        {"id": f"{text}-{copy}", "text": text, "label": (text, other)[copy < 4]}
        for text, other in PAIRS.items()
        for copy in range(12)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    truth = [{"id": text, "text": text, "label": other} for text, other in PAIRS.items()]
    pq.write_table(pa.Table.from_pylist(truth), tmp_path / "test.parquet")
    lineage = str(tmp_path / "lineage")
    decided = [{"id": row["id"], "unit": ""} for row in rows if row["text"] != row["label"]]
    delta.append_once(lineage, pa.Table.from_pylist(decided, schema=schemas.LINEAGE), app_id="c")
    source, test = (
        latest(Source(str(tmp_path / name), "text_classification", ("text",), "label", "id"))
        for name in ("data.parquet", "test.parquet")
    )
    settings = TrainConfig(num_folds=0, lineage_uri=lineage, reviewed_weight=5.0)
    train(source, settings, str(tmp_path / "model"), RayEngine())
    told = evaluate(str(tmp_path / "model"), {"test": test}, InferenceConfig(), RayEngine())
    assert told["test"]["accuracy"] == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_folds", 1),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("reviewed_weight", 0.5),
    ],
)
def test_impossible_settings_are_refused(setting: str, value: int) -> None:
    with pytest.raises(InvalidInput, match=str(value)):
        TrainConfig(**{setting: value})  # type: ignore[arg-type]
