"""Training on both engines: the same models; survives a killed worker, shares the work."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cluster.data.folds import id_keys
from cluster.data.rows import Source, latest
from cluster.engine.base import Engine
from cluster.engine.local import LocalEngine
from cluster.engine.ray import RayEngine
from cluster.engine.workers import Workers
from cluster.inference.evaluate import evaluate
from cluster.inference.predict import InferenceConfig
from cluster.io.folder import Folder
from cluster.io.shards import write_shard
from cluster.training.config import TrainConfig
from cluster.training.dynamics import TrainingDynamics
from cluster.training.model_store import ModelStore
from cluster.training.runs import FileCheckpoint
from cluster.training.sample_weights import DONE, P_CORRECT, SHARDS
from cluster.training.train import train
from relabel_service.errors import AlreadyExists, InvalidInput, NotFound, WrongState
from relabel_service.tables import delta, schemas
from tests.integration.conftest import TRAINING, Trained
from tests.tasks.test_text_classification import planted

LOCAL = LocalEngine()
PAIRS = {"red red": "blue blue", "blue blue": "red red"}


def write(folder: Path, name: str, **planting: Any) -> Source:
    rows = planted(**planting)
    table = pa.table({"id": rows.ids, "text": rows.contents, "label": rows.labels})
    pq.write_table(table, folder / f"{name}.parquet")
    return latest(
        Source(str(folder / f"{name}.parquet"), "text_classification", ("text",), "label", "id")
    )


def fitting_processes() -> list[psutil.Process]:
    """Ray's processes that fit runs at this moment."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any("_fit_share" in word for word in _command(process))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def weights(store_uri: str) -> dict[str, bytes]:
    """The file of each finished run."""
    store = ModelStore(store_uri)
    return {run: store.folder.read(f"runs/{run}") for run in store.finished_runs()}


def test_models_of_another_release_are_refused_with_a_sentence(
    tmp_path: Path, ray_cluster: Engine
) -> None:
    source, out = write(tmp_path, "data", num_rows=60, noise=0.0), str(tmp_path / "model")
    train(source, replace(TRAINING, num_folds=0, epochs=1), out, LOCAL)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "model" / "runs" / "all.pt")
    for engine in (LOCAL, RayEngine()):
        with pytest.raises(WrongState, match="are of another model than this release"):
            evaluate(out, {"test": source}, InferenceConfig(), engine)


def test_both_engines_train_the_same_models_to_the_last_digit(
    ray_cluster: Engine, tmp_path: Path
) -> None:
    source = write(tmp_path, "train", num_rows=300, noise=0.1)
    manifests = []
    for engine, workers in ((LOCAL, Workers()), (ray_cluster, Workers(2))):
        config = TrainConfig(num_folds=3, workers=workers)
        manifests.append(train(source, config, str(tmp_path / engine.name), engine))
    local, on_ray = (replace(manifest, training_id="") for manifest in manifests)
    assert local == on_ray
    assert weights(str(tmp_path / "local")) == weights(str(tmp_path / "ray"))
    assert len(weights(str(tmp_path / "local"))) == 4


def test_a_killed_worker_is_replaced_and_finished_runs_are_kept(
    ray_cluster: Engine, tmp_path: Path
) -> None:
    source = write(tmp_path, "train", num_rows=1_500, noise=0.1)
    store = ModelStore(str(tmp_path / "model"))
    killed = threading.Event()
    first_run: list[bytes] = []

    def kill_once_a_run_is_finished() -> None:
        while not store.finished_runs():
            if finished.wait(0.02):
                return
        first_run.append(store.folder.read("runs/fold-0.pt"))
        for process in fitting_processes():
            process.kill()
            killed.set()

    finished = threading.Event()
    killer = threading.Thread(target=kill_once_a_run_is_finished)
    killer.start()
    config = TrainConfig(num_folds=3, epochs=6, checkpoint_interval_s=0.0)
    try:
        manifest = train(source, config, str(tmp_path / "model"), ray_cluster)
    finally:
        finished.set()
        killer.join()
    assert killed.is_set()
    assert store.finished_runs() == ["all.pt", "fold-0.pt", "fold-1.pt", "fold-2.pt"]
    assert store.folder.read("runs/fold-0.pt") == first_run[0]
    assert manifest.num_rows == 1_500
    # What was cut off went on from its checkpoint, and is what it would have been.
    train(source, config, str(tmp_path / "whole"), LOCAL)
    assert weights(str(tmp_path / "model")) == weights(str(tmp_path / "whole"))


def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, "train", num_rows=300, noise=0.1)
    config = TrainConfig(num_folds=2, checkpoint_interval_s=0.0)
    train(source, config, str(tmp_path / "whole"), LOCAL)
    save, num_saved = FileCheckpoint.save, 0

    def save_and_die(self: FileCheckpoint, state: Mapping[str, Any]) -> None:
        nonlocal num_saved
        save(self, state)
        num_saved += 1
        if num_saved == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(FileCheckpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(source, config, str(tmp_path / "cut"), LOCAL)
    train(source, config, str(tmp_path / "cut"), LOCAL)
    assert weights(str(tmp_path / "cut")) == weights(str(tmp_path / "whole"))
    means = [
        TrainingDynamics.read(Folder(str(tmp_path / name))).of(["row-1", "row-2"])
        for name in ("cut", "whole")
    ]
    assert {name: list(values) for name, values in means[0].items()} == {
        name: list(values) for name, values in means[1].items()
    }


def test_fits_that_take_long_are_spread_over_processes_and_end_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, "train", num_rows=300, noise=0.1)
    train(source, TrainConfig(num_folds=2), str(tmp_path / "here"), LOCAL)
    monkeypatch.setattr("cluster.engine.local.LONG_FIT_S", 0.0)
    monkeypatch.setattr("cluster.engine.local._num_cores", lambda: 2)
    train(source, TrainConfig(num_folds=2), str(tmp_path / "beside"), LOCAL)
    assert weights(str(tmp_path / "beside")) == weights(str(tmp_path / "here"))


def test_two_workers_share_the_rows_of_one_run_and_count_them_by_their_confidence(
    ray_cluster: Engine, tmp_path: Path
) -> None:
    source = write(tmp_path, "train", num_rows=301, noise=0.45)
    planting = planted(num_rows=301, noise=0.45)
    wrong = [
        name
        for name, label, gold in zip(planting.ids, planting.labels, planting.gold, strict=True)
        if label != gold
    ]
    unsure = pa.table({"key": id_keys(wrong), P_CORRECT: np.zeros(len(wrong), np.float32)})
    uri = str(tmp_path / "label_confidence")
    config = TrainConfig(num_folds=0, workers=Workers(2), label_confidence_uri=uri)
    with pytest.raises(NotFound, match=r"no label confidence at .*; have jobs.mine write it"):
        train(source, config, str(tmp_path / "model"), ray_cluster)
    write_shard(Folder(uri), f"{SHARDS}/0.parquet", unsure)
    Folder(uri).write(DONE, b'{"unasked_histogram": []}')
    manifest = train(source, config, str(tmp_path / "model"), ray_cluster)
    folder = ModelStore(str(tmp_path / "model")).folder
    seen = [
        pq.read_table(folder.address(name)).to_pylist()
        for name in folder.names("observed", ".parquet")
    ]
    assert len(seen) == 2
    ids = [row["id"] for part in seen for row in part]
    assert sorted(ids) == sorted(f"row-{index}" for index in range(301))
    assert all(row["num_epochs"] >= 6 for part in seen for row in part)
    test = write(tmp_path, "test", num_rows=200, noise=0.0, seed=1)
    metrics = evaluate(str(tmp_path / "model"), {"test": test}, InferenceConfig(), LOCAL)
    assert metrics["test"].metrics["accuracy"] > 0.95
    assert manifest.runs == ["all"]


def test_a_finished_training_is_told_and_not_repeated(trained: Trained) -> None:
    store = ModelStore(trained.store_uri)
    before = store.folder.read("runs/all.pt")
    assert train(trained.source, TRAINING, trained.store_uri, LOCAL) == store.manifest()
    assert store.folder.read("runs/all.pt") == before


def test_another_training_in_the_same_folder_is_refused(trained: Trained) -> None:
    with pytest.raises(AlreadyExists, match="other settings"):
        train(trained.source, TrainConfig(num_folds=4), trained.store_uri, LOCAL)


def test_a_table_with_one_class_cannot_be_trained_on(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": ["x", "y"], "label": ["one", "one"]}),
        tmp_path / "data.parquet",
    )
    source = Source(str(tmp_path / "data.parquet"), "text_classification", ("text",), "label", "id")
    with pytest.raises(InvalidInput, match="one class 'one'"):
        train(latest(source), TrainConfig(), str(tmp_path / "model"), LOCAL)


def test_a_table_without_a_fit_row_is_refused_with_its_faults(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": ["", " "], "label": ["one", "two"]}),
        tmp_path / "data.parquet",
    )
    source = Source(str(tmp_path / "data.parquet"), "text_classification", ("text",), "label", "id")
    with pytest.raises(InvalidInput, match=r"none of 2 rows is valid .* text: is empty"):
        train(latest(source), TrainConfig(), str(tmp_path / "model"), LOCAL)


def test_what_people_decided_counts_more(tmp_path: Path) -> None:
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
    train(source, settings, str(tmp_path / "model"), LOCAL)
    told = evaluate(str(tmp_path / "model"), {"test": test}, InferenceConfig(), LOCAL)
    assert told["test"].metrics["accuracy"] == 1


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
