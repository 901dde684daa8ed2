"""What jobs.mine shows when it ends, and the page that jobs.report writes, as a user starts it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.engine.local import LocalEngine
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from jobs import mine as mine_job
from jobs import report as report_job
from relabel_service.errors import NotFound
from tests.integration.conftest import Trained
from tests.support.campaigns import write_findings


def run(app: object, *arguments: str | Path) -> tuple[str, str]:
    """What a job prints on stdout and on stderr."""
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)  # type: ignore[arg-type]
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def mine_options(trained: Trained, findings: Path) -> list[str]:
    return [
        *("--dataset", trained.source.uri, "--training", trained.store_uri),
        *("--findings", str(findings), "--run-id", "first", "--budget", "10%"),
    ]


def test_mining_ends_with_the_worst_and_their_page(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    findings = tmp_path / "findings"
    printed, told = run(mine_job.app, *mine_options(trained, findings))
    assert json.loads(printed)["num_findings"] == 30
    lines = told.split("\n")
    headings = [line for line in lines if "suspicion" in line]
    assert len(headings) == 10
    assert headings[0].startswith("1. row-")
    assert max(map(len, lines[lines.index("The worst of run first:") :][:-2])) <= 70
    page = Path(told.rstrip().rpartition("page: ")[2])
    assert page == tmp_path / "findings-first.html"
    text = page.read_text()
    assert text.count("<li tabindex") == 30
    assert f"relabel create first --findings {findings} --run-id first" in text
    assert "money" in text[text.index('id="labels"') :]
    assert "300 scored rows" in text
    assert "Not looked for" not in text


def test_mining_shows_nothing_where_that_is_asked_for(trained: Trained, tmp_path: Path) -> None:
    findings = tmp_path / "findings"
    printed, told = run(mine_job.app, *mine_options(trained, findings), "--no-show")
    assert json.loads(printed)["num_findings"] == 30
    assert told == "engine: local (one worker)\n"
    assert not list(tmp_path.glob("*.html"))


def test_a_page_that_cannot_be_written_fails_no_run(trained: Trained, tmp_path: Path) -> None:
    findings = tmp_path / "findings"
    (tmp_path / "findings-first.html").mkdir()
    _, told = run(mine_job.app, *mine_options(trained, findings))
    assert "warning: no page was written to" in told
    assert f"relabel report {findings} --run-id first --out page.html" in told


def test_a_report_is_written_of_any_run(trained: Trained, tmp_path: Path) -> None:
    mined = MineConfig(
        trained.source,
        trained.store_uri,
        str(tmp_path / "findings"),
        str(tmp_path / "quarantine"),
        "second",
        Selection(top=40),
    )
    mine(mined, LocalEngine())
    out = tmp_path / "pages" / "page.html"
    command = (tmp_path / "findings", "--run-id", "second", "--out", out)
    printed, _ = run(report_job.app, *command, "--top", "5")
    assert printed == f"page: {out} (0.0 MB)\n"
    assert out.read_text().count("<li tabindex") == 5
    assert "the worst 5 are shown" in out.read_text()
    printed, _ = run(report_job.app, *command, "--json")
    assert json.loads(printed) == {"page": str(out), "num_bytes": out.stat().st_size}
    assert out.read_text().count("<li tabindex") == 40


def test_findings_of_another_origin_have_a_page_too(tmp_path: Path) -> None:
    findings, out = write_findings(tmp_path, 3), tmp_path / "page.html"
    run(report_job.app, findings, "--run-id", "run", "--out", out)
    assert out.read_text().count("<li tabindex") == 3
    assert "the findings do not say which table they are of" in out.read_text()
    with pytest.raises(NotFound, match="has no run 'other'"):
        run(report_job.app, findings, "--run-id", "other", "--out", out)


def test_the_page_is_whole_or_not_there(tmp_path: Path) -> None:
    findings, out = write_findings(tmp_path, 3), tmp_path / "page.html"
    out.write_text("before")
    with pytest.raises(NotFound):
        run(report_job.app, findings, "--run-id", "other", "--out", out)
    assert out.read_text() == "before"
    run(report_job.app, findings, "--run-id", "run", "--out", out)
    assert {path.name for path in tmp_path.iterdir()} == {"findings", "page.html"}
