"""Figures of a test: how many of its rows they are of stands beside them, in every report."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from cluster.data.rows import Source, latest
from cluster.engine.local import LocalEngine
from cluster.inference.evaluate import (
    Coverage,
    Evaluation,
    PredictedRows,
    evaluate,
    on_same_rows,
)
from cluster.inference.predict import InferenceConfig
from cluster.training.config import TrainConfig
from cluster.training.train import train
from jobs import mine as mine_job
from jobs import self_refine
from jobs import train as train_job
from jobs.loop import report
from jobs.loop.rounds import Round
from relabel_service.errors import InvalidInput

WORDS = {
    "spam": ["win", "prize", "cash", "click", "offer"],
    "ham": ["meeting", "lunch", "project", "team"],
}


def write(path: Path, column: str, labels: Sequence[str | None]) -> Source:
    rng = np.random.default_rng(0)
    kinds = ["spam" if number % 2 else "ham" for number in range(len(labels))]
    texts = [" ".join(rng.choice(WORDS[kind], 5)) + f" n{at}" for at, kind in enumerate(kinds)]
    ids = [f"r{number}" for number in range(len(labels))]
    pq.write_table(pa.table({"id": ids, "text": texts, column: labels}), path)
    return latest(Source(str(path), "text_classification", ("text",), column, "id"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on ham and spam in `model`."""
    folder = tmp_path_factory.mktemp("evaluated")
    source = write(folder / "train.parquet", "label", ["ham", "spam"] * 30)
    train(source, TrainConfig(num_folds=0), str(folder / "model"), LocalEngine())
    return folder


# Spelt otherwise, of a class that no training row has, and without a label.
LEFT_OUT = {0: "ham ", 3: "Spam", 4: "eggs", 7: None, 8: "ham ", 11: "SPAM"}
GOLD = [LEFT_OUT.get(at, kind) for at, kind in enumerate(["ham", "spam"] * 30)]


def test_rows_that_are_not_evaluated_are_counted_with_their_reason(folder: Path) -> None:
    test = write(folder / "test.parquet", "gold", GOLD)
    told = evaluate(str(folder / "model"), {"test": test}, InferenceConfig(), LocalEngine())["test"]
    assert told.coverage == Coverage(
        54, 6, "gold: label 'ham ' is not one of the classes ham, spam"
    )
    assert told.to_dict() == {
        "accuracy": told.metrics["accuracy"],
        **{name: told.metrics[name] for name in told.metrics},
        "num_evaluated": 54,
        "num_left_out": 6,
        "left_out_because": told.coverage.left_out_because,
    }


def test_the_train_job_prints_the_count_beside_the_figure(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "test.parquet", "gold", GOLD)
    arguments = [
        *("--dataset", str(folder / "train.parquet"), "--id-column", "id", "--folds", "0"),
        *("--out", str(folder / "by-job"), "--test", str(folder / "test.parquet")),
    ]
    train_job.app(arguments, standalone_mode=False)
    told = json.loads(capsys.readouterr().out)["test"]
    assert (told["num_evaluated"], told["num_left_out"]) == (54, 6)


def test_train_and_mine_tell_what_looks_odd_in_the_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train.parquet", "label", ["ham", "spam"] * 20 + ["ham ", "Spam"] * 5)
    dataset = ("--dataset", str(tmp_path / "train.parquet"))
    model, findings = str(tmp_path / "model"), str(tmp_path / "findings")
    arguments = [*dataset, "--id-column", "id", "--folds", "2", "--epochs", "1", "--out", model]
    train_job.app(arguments, standalone_mode=False)
    trained = capsys.readouterr()
    arguments = [*dataset, "--training", model, "--findings", findings, "--run-id", "r"]
    mine_job.app(arguments, standalone_mode=False)
    mined = capsys.readouterr()
    for told in (trained, mined):
        [ham, spam] = json.loads(told.out)["warnings"]
        assert "'ham' (20 rows), 'ham ' (5 rows)" in ham
        assert f"warning: {spam}\n" in told.err


def test_training_tells_which_rows_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train.parquet", "label", ["ham", "spam"] * 20)
    table = pq.read_table(tmp_path / "train.parquet")
    numbers = pa.array([number % 37 for number in range(40)])
    table = table.set_column(table.schema.get_field_index("id"), "id", numbers)
    pq.write_table(table, tmp_path / "train.parquet")
    arguments = ["--dataset", str(tmp_path / "train.parquet"), "--out", str(tmp_path / "model")]
    settings = ["--id-column", "id", "--folds", "2", "--epochs", "1"]
    train_job.app([*arguments, *settings], standalone_mode=False)
    said = capsys.readouterr()
    [told] = json.loads(said.out)["warnings"]
    assert told.startswith("3 of 40 rows are left out: 3 rows: the id is that of another row")
    assert f"warning: {told}\n" in said.err


def test_where_one_class_is_left_the_rows_that_are_not_valid_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", "label", ["ham", " "] * 3)
    arguments = ["--dataset", str(tmp_path / "train.parquet"), "--out", str(tmp_path / "model")]
    told = r"one class 'ham'; give two or more \(3 of 6 rows are left out: 3 rows: label: "
    with pytest.raises(InvalidInput, match=told):
        train_job.app([*arguments, "--id-column", "id"], standalone_mode=False)


def test_rows_of_one_fold_are_too_few(tmp_path: Path) -> None:
    ids, texts = ["a", "a", "a"], ["one text", "another one", "a third"]
    table = pa.table({"id": ids, "text": texts, "label": ["ham", "spam", "ham"]})
    pq.write_table(table, tmp_path / "train.parquet")
    arguments = ["--dataset", str(tmp_path / "train.parquet"), "--out", str(tmp_path / "model")]
    with pytest.raises(
        InvalidInput, match=r"has 1 valid rows, all of them in one fold, .* --folds 0"
    ):
        train_job.app([*arguments, "--id-column", "id", "--folds", "2"], standalone_mode=False)


def test_a_test_without_a_row_to_evaluate_is_refused_with_the_reason(folder: Path) -> None:
    test = write(folder / "none.parquet", "gold", ["eggs"] * 4)
    with pytest.raises(InvalidInput, match="no valid row to evaluate on: gold: label 'eggs'"):
        evaluate(str(folder / "model"), {"test": test}, InferenceConfig(), LocalEngine())
    test = write(folder / "empty.parquet", "gold", [])
    with pytest.raises(InvalidInput, match="to evaluate on: it has no rows; give some"):
        evaluate(str(folder / "model"), {"test": test}, InferenceConfig(), LocalEngine())


SOME = Evaluation({"accuracy": 0.9}, Coverage(48, 12, "gold: label 'ham ' is not one of …"))
EVERY = Evaluation({"accuracy": 0.95}, Coverage(60))


def test_the_loops_table_page_and_json_tell_it_beside_each_figure() -> None:
    told = report.Report([Round("v1", 1, {"test": SOME})], {"test": EVERY}, [])
    console = Console(record=True, width=200)
    console.print(report.table(told))
    shown = console.export_text()
    assert "90.0% (12 of 60 left out)" in shown
    assert "95.0% " in shown
    page = report.html(told)
    assert "<td>90.0% (12 of 60 left out)</td>" in page
    assert "v1: test figures are of 48 rows; 12 are left out, most often because gold" in page
    as_json = json.loads(json.dumps(report.as_json(told)))
    assert as_json["rounds"][0]["metrics"]["test"]["num_left_out"] == 12
    assert as_json["ceiling"]["test"] == EVERY.to_dict()


def test_rows_without_gold_are_told_beside_what_they_are_left_out_of() -> None:
    told = report.Report([Round("v1", 1, {}, num_wrong=3, num_without_gold=7)], None, [])
    assert told.left_out == [
        "v1: wrong, precision and recall leave out 7 rows, whose gold label is missing or invalid"
    ]


def test_self_refine_tells_it_too() -> None:
    one = self_refine.Round(1, 60, 0.9, {"gold": 0.8}, 0, coverage={"gold": SOME.coverage})
    console = Console(record=True, width=200)
    console.print(self_refine.table([one]))
    assert "80.0% (12 of 60 left out)" in console.export_text()


def test_models_are_compared_on_the_rows_that_both_were_evaluated_on() -> None:
    knows_more = PredictedRows(["a", "b", "c"], [*"xyz"], [*"xyz"], fingerprints=["1"] * 3)
    knows_less = PredictedRows(["a", "c"], ["x", "x"], ["x", "z"], fingerprints=["1"] * 2)
    one, other = on_same_rows(knows_more, knows_less)
    assert one.ids == other.ids == ["a", "c"]
    assert one.predicted == ["x", "z"]


def test_rows_of_one_id_are_compared_each_with_itself() -> None:
    one = PredictedRows(["a", "a"], ["x", "y"], ["x", "x"], fingerprints=["1", "2"])
    other = PredictedRows(["a"], ["y"], ["x"], fingerprints=["2"])
    assert on_same_rows(one, other)[0].predicted == ["y"]
