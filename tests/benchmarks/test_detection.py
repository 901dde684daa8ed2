"""The detection benchmark: its metrics against scikit-learn's, and one whole run on made sets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from bench import detection, scoring
from bench.detection_metrics import Quality
from bench.detection_plant import Plant, planted


@for_all(st.integers(0, 10_000), st.integers(2, 60))
@settings(max_examples=50, deadline=None)
def test_metrics_equal_scikit_learns(seed: int, num_rows: int) -> None:
    rng = np.random.default_rng(seed)
    suspicion = rng.random(num_rows).round(1)  # ties
    wrong = rng.random(num_rows) < 0.4
    wrong[:2] = [True, False]
    flags = suspicion > 0.5
    found = Quality.of(suspicion, flags, wrong)
    assert found.average_precision == pytest.approx(average_precision_score(wrong, suspicion))
    assert found.auroc == pytest.approx(roc_auc_score(wrong, suspicion))
    assert found.f1_of_flags == pytest.approx(f1_score(wrong, flags, zero_division=0.0))


def made_set(folder: Path, *, num_wrong: int) -> None:
    """Sentences about two topics, the first num_wrong of them with the other topic's label."""
    rng = np.random.default_rng(0)
    words = {"ball": ["goal", "match", "team", "coach"], "bank": ["money", "loan", "rate", "debt"]}
    gold = ["ball", "bank"] * 40
    text = [" ".join([*rng.choice(words[topic], 3), f"x{row}"]) for row, topic in enumerate(gold)]
    other = {"ball": "bank", "bank": "ball"}
    label = [other[topic] if row < num_wrong else topic for row, topic in enumerate(gold)]
    ids = [str(row) for row in range(80)]
    folder.mkdir(parents=True)
    table = pa.table({"id": ids, "text": text, "label": label, "gold": gold})
    pq.write_table(table, folder / "train.parquet")


def test_a_run_writes_a_table_for_each_set_with_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_set(tmp_path / "data/text_classification/noisy", num_wrong=8)
    made_set(tmp_path / "data/text_classification/clean", num_wrong=0)
    out = tmp_path / "results/table.md"
    asked = ["--data", str(tmp_path / "data"), "--out", str(out), "--seeds", "2"]
    out.parent.mkdir()
    out.write_text("What it means.\n" + detection.MARK + "an older table")
    assert detection.main([*asked, "--cache", str(tmp_path / "cache")]) == 0
    page = out.read_text()
    assert page.startswith("What it means.\n" + detection.MARK)
    assert "older" not in page
    assert "text_classification/noisy" in page
    assert "text_classification/clean" not in page
    assert "clean: every label equals gold" in capsys.readouterr().err
    ours = next(line for line in page.splitlines() if line.startswith("| ours |"))
    chance = next(line for line in page.splitlines() if line.startswith("| random |"))
    assert float(ours.split("|")[2].split()[0]) > 0.9 > float(chance.split("|")[2].split()[0])


@pytest.mark.parametrize("kind", list(Plant))
def test_planted_errors_are_about_as_many_as_asked_and_come_again(kind: Plant) -> None:
    truth = np.repeat(np.arange(10), 500)
    given = planted(truth, kind, rate=0.2, seed=1)
    assert (given != truth).mean() == pytest.approx(0.2, abs=0.04)
    np.testing.assert_array_equal(given, planted(truth, kind, rate=0.2, seed=1))


def test_a_clean_set_can_be_graded_on_planted_errors(tmp_path: Path) -> None:
    made_set(tmp_path / "data/text_classification/clean", num_wrong=0)
    out = tmp_path / "table.md"
    folders = ["--data", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    asked = [*folders, "--out", str(out), "--seeds", "1", "--plant", "next"]
    assert detection.main(asked) == 0
    assert "clean (next, 10% chosen)" in out.read_text()


def test_a_folder_without_sets_is_an_error(tmp_path: Path) -> None:
    assert detection.main(["--data", str(tmp_path)]) == 1


def test_the_speed_run_names_every_contestant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SIZES", ((2000, 10),))
    assert scoring.main(["--turns", "1"]) == 0
    page = capsys.readouterr().out
    for name in scoring.CONTESTANTS:
        assert f"| {name} |" in page
