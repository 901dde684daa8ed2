"""What commands print: tables that fit 80 columns, JSON where it is asked for, the version."""

import io
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cluster.inference.evaluate import Coverage, Evaluation
from jobs.loop import report
from jobs.loop.rounds import Round
from relabel_service.cli import output
from relabel_service.cli.main import app


def printed(table: object, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def words_of_headings(text: str) -> str:
    return " ".join(text.split("─")[0].split())


def test_a_loops_table_fits_a_terminal_with_all_its_headings() -> None:
    some = Evaluation({"accuracy": 0.9}, Coverage(48, 12, "gold: label 'ham ' is not one of …"))
    rounds = [
        Round(f"v{number}", number, {"dev": some, "test": some}, num_wrong=12_345, num_leased=1_000,
              precision=0.475, recall=0.123)
        for number in range(1, 12)
    ]  # fmt: skip
    told = printed(report.table(report.Report(rounds, {"dev": some, "test": some}, [])))
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80
    headings = words_of_headings(told)
    for word in (
        "version",
        "wrong",
        "leased",
        "precision",
        "recall",
        "changed",
        "left",
        "accuracy",
    ):
        assert word in headings
    assert "v11" in told
    assert "12345" in told


@pytest.mark.parametrize("width", [80, 100])
def test_long_cells_are_folded_and_nothing_is_lost(width: int) -> None:
    shown = output.table(("campaign", "state", "items", "votes", "findings", "run"))
    address = "s3://bucket/" + "a-long-folder/" * 8
    shown.add_row("campaigns/" + "c" * 63, "open", "1000000", "3", address, "round-1")
    told = printed(shown, width)
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= width
    for word in ("campaign", "state", "items", "votes", "findings", "run"):
        assert word in told.splitlines()[1].split()
    for cell, times in (("c", 63), ("1000000", 1), ("round-1", 1)):
        assert told.count(cell) >= times


def test_the_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"relabel-service {version('relabel-service')}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_commands(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "_RELABEL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "relabel camp",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "relabel camp",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = CliRunner(env=environment).invoke(app, [], prog_name="relabel")
    assert "campaigns" in done.stdout


def test_results_of_import_and_export_are_json_where_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nhello,ham\nbuy,spam\n")
    table = str(tmp_path / "table")
    done = CliRunner().invoke(app, ["import", str(tmp_path / "a.csv"), table, "--json"])
    assert json.loads(done.stdout) == {
        "table": table, "format": "csv", "num_rows": 2, "notes": {}
    }  # fmt: skip
    path = str(tmp_path / "b.csv")
    done = CliRunner().invoke(app, ["export", table, path, "--json"])
    assert json.loads(done.stdout) == {"path": path, "format": "csv", "table": table}
