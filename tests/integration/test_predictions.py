"""Predictions that others made, as views in audits and mine runs: each task, planted errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from cluster import Audit, AuditConfig, audit
from cluster.engine.base import Engine
from cluster.engine.local import LocalEngine
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta
from relabel_service.tasks import spans
from tests.data.slices import read
from tests.integration.conftest import Trained
from tests.tasks.test_text_classification import planted

ROWS = planted(240, noise=0.1)
CLASSES = sorted(set(ROWS.gold))
GOLD = dict(zip(ROWS.ids, ROWS.gold, strict=True))
TABLE = pa.table({"id": ROWS.ids, "text": ROWS.contents, "label": ROWS.labels})
Matrix = npt.NDArray[np.float64]


def model_of(names: list[str], *, sharpness: float, seed: int = 1) -> Matrix:
    """Probabilities of a model that mostly knows the names, [R, C]."""
    randomness = np.random.default_rng(seed)
    logits = randomness.normal(size=(len(names), len(CLASSES)))
    logits[np.arange(len(names)), [CLASSES.index(name) for name in names]] += sharpness
    exponents = np.exp(logits)
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


KNOWS = model_of(ROWS.gold, sharpness=4.0)


def config(*predictions: Path, only: bool = False, **other: Any) -> AuditConfig:
    uris = tuple(map(str, predictions))
    return AuditConfig(budget=1.0, num_folds=2, predictions=uris, predictions_only=only, **other)


def precision(found: Audit) -> float:
    """Average precision of the suspicion over all rows."""
    frame = found.findings
    wrong = [
        GOLD[name] != label for name, label in zip(frame["id"], frame["human_label"], strict=True)
    ]
    return float(average_precision_score(wrong, frame["suspicion"]))


def by_column(matrix: Matrix, folder: Path, name: str = "view.parquet") -> Path:
    columns = {one: matrix[:, number] for number, one in enumerate(CLASSES)}
    pq.write_table(pa.table({"id": ROWS.ids, **columns}), folder / name)
    return folder / name


def test_a_view_stands_instead_of_our_models_or_beside_them(tmp_path: Path) -> None:
    view = by_column(KNOWS, tmp_path)
    alone = audit(TABLE, config=config(view, only=True))
    pooled = audit(TABLE, config=config(view))
    assert precision(alone) > 0.8
    assert precision(pooled) > 0.9
    signals = dict(pooled.table["signals"][0].as_py())
    assert {"suspicion_model", "suspicion_view_0", "suspicion_ensemble"} <= signals.keys()
    assert "suspicion_dynamics" not in dict(alone.table["signals"][0].as_py())
    assert pooled.warnings == []


def test_a_worse_view_does_not_take_over(tmp_path: Path) -> None:
    chance = by_column(model_of(ROWS.gold, sharpness=0.0), tmp_path, "chance.parquet")
    knows = by_column(KNOWS, tmp_path, "knows.parquet")
    both = audit(TABLE, config=config(knows, chance, only=True))
    assert precision(both) > 0.7


@pytest.mark.parametrize("form", ["list", "object", "csv", "array", "frame"])
def test_every_form_of_predictions_says_the_same(form: str, tmp_path: Path) -> None:
    expected = audit(TABLE, config=config(by_column(KNOWS, tmp_path), only=True))
    pred_probs: Any = None
    paths: list[Path] = []
    if form == "list":
        lists = pa.array(list(KNOWS), pa.list_(pa.float64()))
        paths = [tmp_path / "lists.parquet"]
        pq.write_table(pa.table({"id": ROWS.ids, "p": lists}), paths[0])
    elif form == "object":
        paths = [tmp_path / "objects.jsonl"]
        lines = [
            json.dumps({"id": name, "p": dict(zip(CLASSES, row.tolist(), strict=True))})
            for name, row in zip(ROWS.ids, KNOWS, strict=True)
        ]
        paths[0].write_text("\n".join(lines) + "\n")
    elif form == "csv":
        paths = [tmp_path / "view.csv"]
        frame = pd.DataFrame(KNOWS, columns=CLASSES)
        frame.insert(0, "id", ROWS.ids)
        frame.to_csv(paths[0], index=False)
    elif form == "array":
        pred_probs = KNOWS
    else:
        pred_probs = pd.DataFrame(KNOWS, columns=CLASSES)
    found = audit(TABLE, pred_probs=pred_probs, config=config(*paths, only=True))
    assert found.findings["id"].tolist() == expected.findings["id"].tolist()
    assert np.allclose(found.findings["suspicion"], expected.findings["suspicion"])


def test_scores_that_are_no_probabilities_are_taken_and_told(tmp_path: Path) -> None:
    found = audit(TABLE, config=config(by_column(np.log(KNOWS) + 3, tmp_path), only=True))
    assert precision(found) > 0.8
    [told] = found.warnings
    assert "are not probabilities (rows sum to" in told


def test_predictions_that_have_seen_the_labels_are_told(tmp_path: Path) -> None:
    seen = by_column(model_of(ROWS.labels, sharpness=9.0), tmp_path)
    [told] = audit(TABLE, config=config(seen)).warnings
    assert "fit the labels suspiciously well (log-loss" in told
    assert "cross_val_predict" in told


def test_ids_that_do_not_match_are_counted_both_ways(tmp_path: Path) -> None:
    ids = [*ROWS.ids[:-40], *(f"other-{number}" for number in range(40))]
    view = tmp_path / "view.parquet"
    columns = {one: KNOWS[:, number] for number, one in enumerate(CLASSES)}
    pq.write_table(pa.table({"id": ids, **columns}), view)
    [told] = audit(TABLE, config=config(view)).warnings
    assert "40 of 240 rows have no prediction (row-200, row-201, row-202, …)" in told
    assert "40 of 240 predictions are of ids that the table lacks (other-0," in told
    with pytest.raises(InvalidInput, match="predict every row, or mine with our models too"):
        audit(TABLE, config=config(view, only=True))
    pq.write_table(pa.table({"id": [f"other-{n}" for n in range(240)], **columns}), view)
    with pytest.raises(InvalidInput, match="240 of 240 rows have no prediction"):
        audit(TABLE, config=config(view))


def refused(table: dict[str, Any], folder: Path) -> str:
    view = folder / "view.parquet"
    pq.write_table(pa.table(table), view)
    with pytest.raises(InvalidInput) as raised:
        audit(TABLE, config=config(view, only=True))
    return str(raised.value)


def test_bad_tables_are_sentences(tmp_path: Path) -> None:
    ids, p = ROWS.ids, KNOWS.T
    told = refused({"id": ids, "money": p[0], "rain": p[1]}, tmp_path)
    assert "2 of 3 classes have no column (sport, weather), and 1 of 2 number columns are" in told
    lists = pa.array(list(KNOWS[:, :2]), pa.list_(pa.float64()))
    told = refused({"id": ids, "p": lists}, tmp_path)
    assert "holds 2 values a row, and the labels have 3 classes" in told
    assert "in the order money, sport, weather" in told
    told = refused({"name": ids, "money": p[0], "sport": p[1], "weather": p[2]}, tmp_path)
    assert "has no column 'id'" in told
    holes = np.where(np.arange(240) < 5, np.nan, p[0])
    told = refused({"id": ids, "money": holes, "sport": p[1], "weather": p[2]}, tmp_path)
    assert "5 of 240 rows hold a value that is not a number" in told
    told = refused(
        {"id": [ids[0], *ids[:-1]], "money": p[0], "sport": p[1], "weather": p[2]}, tmp_path
    )
    assert "1 ids of 240 twice" in told
    with pytest.raises(InvalidInput, match="is given without predictions"):
        audit(TABLE, config=config(only=True))
    with pytest.raises(InvalidInput, match="has 3 rows for 240 of the data"):
        audit(TABLE, pred_probs=KNOWS[:3], config=config(only=True))
    texts = pa.table({"id": ids, "source": ROWS.contents, "label": ROWS.contents})
    with pytest.raises(InvalidInput, match="have no use in sequence_generation"):
        audit(texts, pred_probs=KNOWS, task="sequence_generation", config=config(only=True))


TAGGED = read("ner/wikinews", "train").slice(0, 60)


def tag_predictions() -> pa.Table:
    """What a tagger that knows gold would say of each token, softened."""
    labels = TAGGED["gold"].to_pylist()
    classes = sorted(
        {s.class_name for tags in labels for s in spans.from_bio(tags)}
        | {s.class_name for tags in TAGGED["label"].to_pylist() for s in spans.from_bio(tags)}
    )
    names = ["O", *(f"{kind}-{name}" for name in classes for kind in "BI")]
    rows = []
    for tags in labels:
        matrix = np.full((len(tags), len(names)), 0.02 / (len(names) - 1))
        matrix[np.arange(len(tags)), [names.index(tag) for tag in tags]] = 0.98
        rows.append(matrix.tolist())
    kind = pa.list_(pa.list_(pa.float64()))
    return pa.table({"id": TAGGED["id"], "tags": pa.array(rows, kind)})


@pytest.mark.parametrize("only", [True, False])
def test_tokens_are_scored_by_tag_probabilities(only: bool, tmp_path: Path) -> None:
    view = tmp_path / "view.parquet"
    pq.write_table(tag_predictions(), view)
    found = audit(TAGGED.drop_columns(["gold"]), config=config(view, only=only))
    gold = dict(zip(map(str, TAGGED["id"].to_pylist()), TAGGED["gold"].to_pylist(), strict=True))
    wrong = [
        spans.to_text(s for s in spans.from_bio(gold[name]) if s.class_name == unit) != label
        for name, unit, label in zip(
            *(found.findings[one] for one in ("id", "unit", "human_label")), strict=True
        )
    ]
    assert sum(wrong) > 5
    assert average_precision_score(wrong, found.findings["suspicion"]) > 0.9


def test_tags_of_other_tokens_are_counted(tmp_path: Path) -> None:
    view = tmp_path / "view.parquet"
    table = tag_predictions()
    shorter = [
        row[:-1] if number < 4 else row for number, row in enumerate(table["tags"].to_pylist())
    ]
    pq.write_table(table.set_column(1, "tags", pa.array(shorter, table["tags"].type)), view)
    with pytest.raises(InvalidInput, match="4 of 60 rows have another number of tokens"):
        audit(TAGGED.drop_columns(["gold"]), config=config(view, only=True))


SCENES = read("object_detection/digit_scenes", "train").slice(0, 24)


@pytest.mark.parametrize("only", [True, False])
def test_pictures_are_scored_by_predicted_boxes(only: bool, tmp_path: Path) -> None:
    boxes = [[{**box, "score": 0.9} for box in gold] for gold in SCENES["gold"].to_pylist()]
    view = tmp_path / "view.parquet"
    pq.write_table(pa.table({"id": SCENES["id"], "boxes": boxes}), view)
    found = audit(SCENES.drop_columns(["gold"]), config=config(view, only=only))
    gold = dict(zip(map(str, SCENES["id"].to_pylist()), SCENES["gold"].to_pylist(), strict=True))
    wrong = [
        sorted(json.dumps(box) for box in gold[name] if box["label"] == unit)
        != sorted(json.dumps(box) for box in json.loads(label))
        for name, unit, label in zip(
            *(found.findings[one] for one in ("id", "unit", "human_label")), strict=True
        )
    ]
    assert sum(wrong) > 5
    assert average_precision_score(wrong, found.findings["suspicion"]) > 0.7


def test_a_view_is_pooled_alike_on_both_engines(
    trained: Trained, tmp_path: Path, ray_cluster: Engine
) -> None:
    classes = sorted(set(trained.gold.values()))
    randomness = np.random.default_rng(3)
    gold = np.array([classes.index(name) for name in trained.gold.values()])
    logits = randomness.normal(size=(len(gold), len(classes)))
    logits[np.arange(len(gold)), gold] += 4
    view = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    columns = {name: view[:, number] for number, name in enumerate(classes)}
    pq.write_table(pa.table({"id": list(trained.gold), **columns}), tmp_path / "view.parquet")

    def findings(on: Engine, run_id: str, *predictions: str) -> list[dict[str, Any]]:
        config = MineConfig(
            source=trained.source,
            store_uri=trained.store_uri,
            findings_uri=str(tmp_path / "findings"),
            quarantine_uri=str(tmp_path / "quarantine"),
            run_id=run_id,
            selection=Selection(budget=1.0),
            each_copy=True,
            predictions=predictions,
        )
        mine(config, on)
        found: list[dict[str, Any]] = delta.read_run(config.findings_uri, run_id).to_pylist()
        return found

    def wrong(rows: list[dict[str, Any]]) -> float:
        labels = [trained.gold.get(row["id"]) != row["human_label"] for row in rows]
        return float(average_precision_score(labels, [row["suspicion"] for row in rows]))

    pooled = findings(ray_cluster, "pooled", str(tmp_path / "view.parquet"))
    local = findings(LocalEngine(), "local", str(tmp_path / "view.parquet"))
    assert {"suspicion_model", "suspicion_view_0"} <= dict(pooled[0]["signals"]).keys()
    assert [row["id"] for row in pooled] == [row["id"] for row in local]
    assert [row["suspicion"] for row in pooled] == pytest.approx(
        [row["suspicion"] for row in local], abs=1e-6
    )
    assert wrong(pooled) > wrong(findings(LocalEngine(), "alone"))
