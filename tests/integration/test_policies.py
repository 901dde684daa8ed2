"""Policies: weights reach training, a search writes what dev chose on both engines, self-refine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest, rows
from cluster.engine.base import Engine
from cluster.engine.local import LocalEngine
from cluster.engine.ray import RayEngine
from cluster.inference.evaluate import evaluate
from cluster.inference.predict import InferenceConfig
from cluster.mining.selection import Selection
from cluster.training.config import TrainConfig
from cluster.training.train import train
from cluster.versions.plan import Action
from cluster.versions.policy import Rule, decide, preview
from jobs.policy.search import KEEP, PolicySearchConfig, search
from jobs.self_refine import SelfRefineConfig, refine
from relabel_service.tables import delta
from tests.support.cross_fit import Rows
from tests.tasks.test_text_classification import planted
from tests.unit.test_policy import FINDINGS, Setting

LOCAL = LocalEngine()
SETTINGS = TrainConfig(num_folds=2, epochs=6)


def table_of(rows: Rows) -> pa.Table:
    right = np.array(rows.labels) == np.array(rows.gold)
    return pa.table(
        {
            "id": rows.ids,
            "text": rows.contents,
            "label": rows.labels,
            "gold": rows.gold,
            "trust": right.astype(np.float64),
        }
    )


def source_of(uri: str, label_column: str = "label", weight_column: str | None = None) -> Source:
    return latest(
        Source(
            uri,
            "text_classification",
            ("text",),
            label_column,
            "id",
            weight_column=weight_column,
        )
    )


@pytest.fixture
def test_uri(tmp_path: Path) -> str:
    uri = str(tmp_path / "test.parquet")
    pq.write_table(table_of(planted(200, noise=0.0, seed=1)), uri)
    return uri


@pytest.fixture
def noisy(tmp_path: Path) -> str:
    """A Delta table, a fifth of whose labels are wrong."""
    uri = str(tmp_path / "data")
    write_deltalake(uri, table_of(planted(300, noise=0.2)))
    return uri


def test_rows_that_weigh_nothing_teach_nothing(tmp_path: Path, test_uri: str) -> None:
    """Most labels are wrong, and wrong alike: only weights can tell."""
    uri = str(tmp_path / "train.parquet")
    pq.write_table(table_of(planted(400, noise=0.6)), uri)
    source = source_of(uri, weight_column="trust")
    store_uri = str(tmp_path / "model")
    train(source, TrainConfig(num_folds=0, epochs=12), store_uri, LOCAL)
    metrics = evaluate(store_uri, {"test": source_of(test_uri)}, InferenceConfig(), LOCAL)
    assert metrics["test"].metrics["accuracy"] > 0.9


@pytest.mark.parametrize("action", list(Action))
def test_a_preview_is_read_as_the_rows_that_applying_would_leave(
    tmp_path: Path, engine: Engine, action: Action
) -> None:
    setting, rule = Setting(tmp_path), Rule(action, least=0.5)
    decisions = decide(FINDINGS, rule)
    for _ in range(2):  # the second replaces the first
        source = preview(
            engine, setting.source, decisions=decisions, rule=rule, out=str(tmp_path / "out")
        )
    previewed = rows(engine, source).to_table().sort_by("id")
    setting.apply(rule)
    applied = rows(LOCAL, latest(replace(setting.source, version=None))).to_table()
    assert previewed["id"].to_pylist() == applied.sort_by("id")["id"].to_pylist()
    assert previewed["label"].to_pylist() == applied.sort_by("id")["label"].to_pylist()
    if action is Action.WEIGHT:
        assert previewed["weight"].to_pylist() == pytest.approx([0.1, 0.3, 1.0, 1.0])


@pytest.mark.parametrize("make", [LocalEngine, RayEngine])
def test_a_search_writes_the_rule_that_dev_chose_once(
    tmp_path: Path,
    noisy: str,
    test_uri: str,
    ray_cluster: Engine,
    make: Callable[[], Engine],
) -> None:
    engine = make()
    config = PolicySearchConfig(
        source=source_of(noisy),
        out=str(tmp_path / "out"),
        training=SETTINGS,
        inference=InferenceConfig(),
        selection=Selection(threshold=0.0),
        rules=[Rule(Action.SET, outside_top=1)],
        dev=source_of(test_uri),
        test=source_of(test_uri, "gold"),
    )
    result = search(config, engine)
    kept, tried = result.trials
    assert (kept.policy, tried.policy) == (KEEP, "set-outside-top-1")
    assert result.chosen == (tried.policy if tried.gain[1] > 0 else KEEP)
    assert DeltaTable(noisy).version() == result.version == int(result.chosen != KEEP)
    assert search(config, engine) == result
    assert DeltaTable(noisy).version() == result.version


def test_self_refine_reports_what_it_agrees_to_and_what_is_true(
    tmp_path: Path, noisy: str, test_uri: str
) -> None:
    config = SelfRefineConfig(
        source=source_of(noisy),
        out=str(tmp_path / "out"),
        num_rounds=1,
        rule=Rule(Action.DROP, outside_top=1),
        training=SETTINGS,
        inference=InferenceConfig(),
        tests={"gold": source_of(test_uri, "gold")},
        gold_column="gold",
    )
    first, last = refine(config, LOCAL)
    assert (first.version, last.version) == (0, 1)
    assert last.num_rows == first.num_rows - first.num_changed == 300 - first.num_changed
    assert first.num_changed > 0
    assert last.refined > first.refined  # by construction, whatever is true
    assert first.num_wrong is not None
    assert last.num_wrong is not None
    assert last.num_wrong < first.num_wrong
    assert set(first.metrics) == {"gold"}
    lineage = delta.read_where(str(tmp_path / "out/lineage"), {})
    assert lineage.num_rows == first.num_changed
    assert set(lineage["policy"].to_pylist()) == {"drop-outside-top-1"}
