"""An audit end to end: a table of any kind in, its planted errors out, on the local engine."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

import cluster
from cluster import Audit, AuditConfig, audit
from jobs.audit import app
from relabel_service.errors import AlreadyExists, InvalidInput, NotFound
from relabel_service.tables import delta
from tests.data.slices import read
from tests.tasks.test_text_classification import planted

ROWS = planted(240, noise=0.1)
FAST = AuditConfig(num_folds=2, budget=0.1)
TABLE = pa.table({"id": ROWS.ids, "title": ROWS.contents, "mood": ROWS.labels})
GOLD = dict(zip(ROWS.ids, ROWS.gold, strict=True))


def share_wrong(found: Audit) -> float:
    """Share of the findings whose label is not gold."""
    named = zip(found.findings["id"], found.findings["human_label"], strict=True)
    wrong = [bool(GOLD[name] != label) for name, label in named]
    return sum(wrong) / len(wrong)


@pytest.fixture(scope="module")
def found() -> Audit:
    return audit(TABLE.to_pandas(), "mood", config=FAST)


def test_planted_errors_are_the_findings(found: Audit) -> None:
    assert found.columns.in_words == (
        "text_classification: content in 'title', label in 'mood', id in 'id'"
    )
    assert len(found.findings) == 24
    assert share_wrong(found) > 0.7
    assert found.findings["suspicion"].is_monotonic_decreasing
    assert set(found.findings["suggestion"]) <= {"money", "sport", "weather"}
    assert found.warnings == []


def test_a_notebook_and_a_page_show_them(found: Audit, tmp_path: Path) -> None:
    shown = found._repr_html_()
    worst = found.findings.iloc[0]
    assert worst["content"] in shown
    assert "240 rows (text_classification): 24 findings" in shown
    path = tmp_path / "page.html"
    assert found.report(path) == path.stat().st_size > 1_000
    assert worst["content"] in path.read_text()
    assert worst["content"] in found.worst(num_items=1)


class HubDataset:
    """What an audit asks of a data set of the datasets library."""

    features = SimpleNamespace(arrow_schema=TABLE.schema)

    def with_format(self, kind: str) -> dict[Any, pa.Table]:
        assert kind == "arrow"
        return _Whole()


class _Whole(dict[Any, pa.Table]):
    def __getitem__(self, rows: object) -> pa.Table:
        assert rows == slice(None)
        return TABLE


def written(kind: str, folder: Path) -> Any:
    """The same table in another form."""
    path = folder / f"table.{kind}"
    if kind == "arrow":
        return TABLE
    if kind == "datasets":
        return HubDataset()
    if kind == "parquet":
        pq.write_table(TABLE, path)
    elif kind == "delta":
        write_deltalake(str(path), TABLE)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))
    return path


@pytest.mark.parametrize("kind", ["arrow", "datasets", "parquet", "delta", "jsonl"])
def test_any_form_of_a_table_gives_the_same_findings(
    kind: str, found: Audit, tmp_path: Path
) -> None:
    other = audit(written(kind, tmp_path), label="mood", config=FAST)
    assert other.findings["id"].tolist() == found.findings["id"].tolist()


def relabel_audit(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def write_csv(path: Path) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["title", "mood"])
        writer.writerows(zip(ROWS.contents, ROWS.labels, strict=True))
    return path


def test_the_command_shows_the_worst_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = relabel_audit(write_csv(tmp_path / "mine.csv"))
    assert "taken for text_classification: content in 'title', label in 'mood'" in done.stderr
    assert "10. " in done.stdout
    assert "11. " not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:-2])
    assert (tmp_path / "mine-audit.html").stat().st_size > 1_000
    assert f"next: relabel import {tmp_path / 'mine.csv'} data/train" in done.stdout


def test_json_says_what_was_taken_and_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = relabel_audit(
        write_csv(tmp_path / "mine.csv"), "--json", "--page", page, "--budget", "10%",
        "--classes", "sport,money",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["id_column"] == "row_number"
    assert told["num_rows"] == told["num_scored"] == 240
    assert told["page_bytes"] == page.stat().st_size
    for row in told["worst"]:
        assert {row["human_label"], row["suggestions"][0]["label"]} & {"sport", "money"}


def test_findings_are_kept_where_labels_can_be_merged(tmp_path: Path) -> None:
    data, kept = written("delta", tmp_path), str(tmp_path / "findings")
    config = AuditConfig(num_folds=2, findings_uri=kept)
    found = audit(str(data), "mood", config=config)
    assert delta.read_run(kept, "audit").num_rows == len(found.findings)
    with pytest.raises(AlreadyExists, match="'audit' already; name another run by --run-id"):
        audit(str(data), "mood", config=config)
    with pytest.raises(InvalidInput, match="bring yours in by relabel import"):
        audit(TABLE, "mood", config=AuditConfig(findings_uri=str(tmp_path / "others")))


@pytest.mark.parametrize(
    ("data", "task", "num_rows"),
    [
        ("image_classification/digits", "image_classification", 60),
        ("audio_classification/spoken_digits", "audio_classification", 40),
        ("ner/wikinews", "token_classification", 40),
        ("object_detection/digit_scenes", "object_detection", 16),
        ("sequence_generation/cmudict", "sequence_generation", 60),
    ],
)
def test_every_task_is_guessed_audited_and_shown(
    data: str, task: str, num_rows: int, tmp_path: Path
) -> None:
    found = audit(
        read(data, "train").slice(0, num_rows), config=AuditConfig(num_folds=2, budget=0.2)
    )
    assert found.columns.task == task
    assert found.table.num_rows > 0
    assert found.worst(num_items=3).startswith("1. ")
    assert found.report(tmp_path / "page.html") > 1_000
    assert "suspicion" in found._repr_html_()


def one_class() -> pa.Table:
    return TABLE.set_column(2, "mood", pa.array(["sport"] * len(TABLE)))


@pytest.mark.parametrize(
    ("data", "asked", "kind", "sentence"),
    [
        (TABLE, {"label": "label"}, NotFound, "there is no column 'label'; there are id, title"),
        (one_class(), {"label": "mood"}, InvalidInput, "holds the one class 'sport'; give two"),
        ("nowhere.csv", {}, NotFound, "nowhere.csv"),
        ([1, 2], {}, InvalidInput, "is list; give a path, a pandas DataFrame"),
        (TABLE, {"config": AuditConfig(classes=("rain",))}, InvalidInput, "'rain' is not a class"),
        (TABLE, {"config": AuditConfig(budget=2)}, InvalidInput, "use 0% to 100%"),
        (TABLE.slice(0, 0), {"label": "mood"}, InvalidInput, "holds no rows"),
        (TABLE, {"task": "text"}, InvalidInput, "'text' is not a task"),
    ],
)
def test_bad_input_is_a_sentence(
    data: Any, asked: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind) as raised:
        audit(data, **asked)
    assert sentence in str(raised.value)


def test_rows_that_fit_no_task_are_told() -> None:
    empty = pa.table({"id": ["empty"], "title": [""], "mood": ["sport"]})
    found = audit(pa.concat_tables([TABLE, empty]), "mood", config=FAST)
    [told] = found.warnings
    assert told.startswith("1 of 241 rows cannot be scored; the first: ")


def test_the_front_door_holds_what_its_modules_do() -> None:
    for module, names in cluster.EXPORTS.items():
        for name in names:
            assert getattr(cluster, name).__module__ == f"cluster.{module}"
            assert name in dir(cluster)


def test_a_frame_of_mixed_types_is_a_sentence() -> None:
    mixed = pd.DataFrame({"title": ["a", 1], "mood": ["x", "y"]})
    with pytest.raises(InvalidInput, match="give each column one type"):
        audit(mixed, "mood")
