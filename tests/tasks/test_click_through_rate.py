"""Click-through rate: its text forms, what its features learn, and planted false clicks found."""

import json
import math
import random
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.data.rows import Source, latest
from cluster.engine.local import LocalEngine
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from cluster.models.tabular import click_learner
from cluster.models.tabular.features import Features
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.train import train
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta
from relabel_service.tasks import task_named
from relabel_service.v1 import labels_pb2
from tests.data.slices import read
from tests.support.cross_fit import (
    CrossFitted,
    Rows,
    auroc,
    cross_fit,
    is_wrong,
    metrics_on,
    rows_of,
)

TASK = "click_through_rate"
LIGHT, HEAVY = task_named(TASK), model_task(TASK)
COLORS = ("red", "green", "blue", "grey")


def test_equal_features_give_equal_texts() -> None:
    one = LIGHT.read_content({"b": 2, "a": "x", "when": date(2024, 1, 2), "nan": math.nan})
    other = LIGHT.read_content({"nan": None, "a": "x", "when": "2024-01-02", "b": 2})
    assert one == other
    assert json.loads(one) == {"a": "x", "b": 2, "nan": None, "when": "2024-01-02"}


def test_features_reach_the_labeler_by_name() -> None:
    content = LIGHT.read_content({"b": 2.5, "a": "x", "c": None})
    wire = LIGHT.content_to_wire(content)
    assert dict(wire.fields.fields) == {"a": "x", "b": "2.5", "c": "null"}


@pytest.mark.parametrize("values", [{"a": None, "b": math.nan}, {"a": ["x"]}, {"a": b"x"}])
def test_rows_without_usable_features_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="give"):
        LIGHT.read_content(values)


@pytest.mark.parametrize(("value", "label"), [(0, "0"), (1, "1"), (True, "1"), (0.0, "0")])
def test_labels_go_there_and_back(value: object, label: str) -> None:
    assert LIGHT.read_label(value, "") == label
    assert LIGHT.write_label(label, "") == value
    assert LIGHT.label_from_wire(LIGHT.label_to_wire(label)) == label


@pytest.mark.parametrize("value", [2, -1, 0.5, "1", None, math.nan])
def test_other_labels_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="give 0 or 1"):
        LIGHT.read_label(value, "")


def test_another_tasks_label_is_refused() -> None:
    label = labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="1"))
    with pytest.raises(InvalidInput, match="class_label does not suit clicks"):
        LIGHT.label_from_wire(label)


def test_features_encode_the_same_after_saving(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"color": COLORS[n % 4], "size": n % 50, "new": n % 2 == 0} for n in range(200)
    ]
    learned = Features.learn(rows)
    learned.save(tmp_path)
    for row in [*rows[:20], {"color": "unseen", "size": None, "new": True}, {}]:
        for before, after in zip(
            learned.encode(row), Features.load(tmp_path).encode(row), strict=True
        ):
            np.testing.assert_array_equal(before, after)


def test_numbers_keep_their_order_and_rare_values_share_a_bucket() -> None:
    rows = [{"id": f"user-{n}", "size": n**3} for n in range(300)]
    features = Features.learn(rows)
    encoded = [features.encode(row) for row in rows]
    assert len({int(buckets[0]) for buckets, _ in encoded}) == 1
    places = [float(numbers[0]) for _, numbers in encoded]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (-1.0, 1.0)


def test_one_kind_of_label_cannot_be_trained_on(tmp_path: Path) -> None:
    content = LIGHT.read_content({"a": 1})
    with pytest.raises(InvalidInput, match="with and without a click"):
        HEAVY.prepare(tmp_path, model=None, contents=[content] * 3, labels=["0"] * 3)


def test_only_the_built_in_model_exists(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="only the built-in"):
        HEAVY.prepare(tmp_path, model="some/model", contents=["{}"], labels=["0"])


def drawn(num_rows: int, *, noise: float, seed: int = 0) -> Rows:
    """Clicks that the features tell well; a share of the labels is turned round."""
    draw = random.Random(seed)
    contents, gold, labels = [], [], []
    for _ in range(num_rows):
        color, shop, size = draw.choice(COLORS), draw.choice("ab"), draw.gauss(0, 10)
        liked = (color == "red") != (shop == "a")  # the two together; neither alone tells
        logit = (3.0 if liked else -5.0) + abs(size) / 10
        click = draw.random() < 1 / (1 + math.exp(-logit))
        contents.append(LIGHT.read_content({"color": color, "shop": shop, "size": size}))
        gold.append(str(int(click)))
        labels.append(str(int(click != (draw.random() < noise))))
    return Rows([f"row-{place}" for place in range(num_rows)], contents, labels, gold)


@pytest.fixture(scope="module")
def planted() -> tuple[CrossFitted, Rows]:
    rows = drawn(3000, noise=0.04)
    return cross_fit(TASK, rows, defaults={"batch_size": 64}), rows


def test_planted_false_and_lost_clicks_rank_high(planted: tuple[CrossFitted, Rows]) -> None:
    fitted, rows = planted
    assert fitted.suspicion.min() >= 0
    assert fitted.suspicion.max() <= 1
    assert auroc(fitted.suspicion, is_wrong(TASK, fitted, rows)) > 0.9


def test_probabilities_are_calibrated(planted: tuple[CrossFitted, Rows]) -> None:
    fitted, rows = planted
    measured = HEAVY.metrics(fitted.signals["p_click"].tolist(), rows.labels)
    assert measured["auc"] > 0.85
    assert measured["neg_calibration_error"] > -0.03


def test_reason_suggestions_and_signals_agree_on_the_calibrated_probability() -> None:
    raw = np.repeat([0.02, 0.1, 0.5], 200)  # the model gives ten times too little
    clicked = np.arange(600) % 100 < np.repeat([20, 60, 90], 200)
    scored = pa.table(
        {
            "label": ["1" if click else "0" for click in clicked],
            "p_click": raw,
            "suggestions": click_learner.suggestions(raw),
        }
    )
    sums = HEAVY.sums(scored, ("0", "1"))
    signals = HEAVY.signals(scored, sums, ("0", "1"))
    shown = HEAVY.calibrate(scored, sums)
    p_click = signals["p_click"]
    assert np.abs(p_click - raw).min() > 0.1
    for p, suggestions, reason in zip(
        p_click, shown["suggestions"].to_pylist(), HEAVY.reasons(shown), strict=True
    ):
        told = {one["label"]: one["probability"] for one in suggestions}
        assert told == pytest.approx({"1": p, "0": 1 - p})
        assert suggestions[0]["probability"] >= suggestions[1]["probability"]
        assert reason.endswith(f"gives a click {p:.1%}")


def test_findings_of_clicks_hold_one_probability(tmp_path: Path) -> None:
    rows = drawn(600, noise=0.04)
    table = pa.table(
        {
            "id": rows.ids,
            "label": [int(label) for label in rows.labels],
            **{
                name: [json.loads(content)[name] for content in rows.contents]
                for name in ("color", "shop", "size")
            },
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    columns = ("color", "shop", "size")
    source = latest(Source(str(tmp_path / "t.parquet"), TASK, columns, "label", "id"))
    train(source, TrainConfig(num_folds=2, epochs=2), str(tmp_path / "model"), LocalEngine())
    config = MineConfig(
        source=source,
        store_uri=str(tmp_path / "model"),
        findings_uri=str(tmp_path / "findings"),
        quarantine_uri=str(tmp_path / "quarantine"),
        run_id="r",
        selection=Selection(top=50),
    )
    mine(config, LocalEngine())
    for row in delta.read_run(config.findings_uri, "r").to_pylist():
        p_click = dict(row["signals"])["p_click"]
        told = {one["label"]: one["probability"] for one in row["suggestions"]}
        assert told["1"] == pytest.approx(p_click, abs=1e-6)
        assert row["reason"].endswith(f"{p_click:.1%}")


def test_the_other_label_is_always_suggested(planted: tuple[CrossFitted, Rows]) -> None:
    fitted, _ = planted
    for suggestions in fitted.scored["suggestions"].to_pylist()[:50]:
        assert {one["label"] for one in suggestions} == {"0", "1"}
        assert suggestions[0]["probability"] >= suggestions[1]["probability"]


def test_metrics_follow_scikit_learn_and_survive_one_label() -> None:
    measured = HEAVY.metrics([0.1, 0.9, 0.8, 0.3], ["0", "1", "0", "1"])
    assert next(iter(measured)) == "auc"
    assert measured["auc"] == pytest.approx(0.75)
    assert math.isnan(HEAVY.metrics([0.1, 0.2], ["0", "0"])["auc"])


def test_simulated_clicks_train_on_their_own_columns() -> None:
    columns = ("age", "device", "category", "advertiser", "position", "hour", "visits")
    train, test = (
        rows_of(TASK, read("ctr/simulated_clicks", split), *columns) for split in ("train", "test")
    )
    assert metrics_on(TASK, train, test, labels=train.labels)["auc"] > 0.55
