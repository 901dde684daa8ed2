"""The relabel command against a running service."""

import json
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relabel_service.cli import main as cli
from relabel_service.errors import InvalidInput
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess


def relabel(*arguments: str, stdin: str = "") -> list[str]:
    """Lines of what the command printed."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(
        cli.app, arguments, input=stdin, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_a_campaign_from_creation_to_its_results(server: ServerProcess, tmp_path: Path) -> None:
    at = ("--address", server.address)
    made = f"c-{uuid.uuid4().hex}"
    findings = write_findings(tmp_path, 3)
    settings = ("--order", "by-class", "--skipped", "nobody", "--blind-share", "0")
    [line] = relabel("create", made, "--findings", findings, "--run-id", "run", *settings, *at)
    name = f"campaigns/{made}"
    assert line == f"{name}: 3 items"
    relabel("pause", name, *at)
    relabel("resume", name, *at)
    leases = [
        json.loads(line) for line in relabel("lease", name, "--as", "ann", "--max-items", "2", *at)
    ]
    results = [{"token": lease["token"], "decision": "DECISION_ACCEPT"} for lease in leases]
    stdin = "\n".join(json.dumps(result) for result in results)
    outcomes = relabel("submit", name, "--as", "ann", *at, stdin=stdin)
    assert [json.loads(outcome)["status"] for outcome in outcomes] == ["RESULT_STATUS_ACCEPTED"] * 2
    assert json.loads("".join(relabel("stats", name, *at)))["numDone"] == "2"
    relabel("close", name, *at)
    [line] = relabel("finalize", name, "--results", str(tmp_path / "results"), *at)
    assert line == f"{name}: results in {tmp_path / 'results'}"
    [line] = relabel("watch", name, *at)
    assert json.loads(line)["campaign"]["state"] == "CAMPAIGN_STATE_FINALIZED"
    assert any(name in line for line in relabel("campaigns", *at))
    told = [json.loads(line) for line in relabel("campaigns", "--json", *at)]
    assert [one["numItems"] for one in told if one["name"] == name] == ["3"]


def test_what_one_escalates_another_decides_at_the_keyboard(
    server: ServerProcess, tmp_path: Path
) -> None:
    at = ("--address", server.address)
    made = f"c-{uuid.uuid4().hex}"
    relabel("create", made, "--findings", write_findings(tmp_path, 1), "--run-id", "run", *at)
    name = f"campaigns/{made}"
    shown = relabel("label", name, "--as", "ann", *at, stdin="e\nunclear\n")
    assert shown[-1] == "1 results accepted"
    assert json.loads("".join(relabel("stats", name, *at)))["numEscalated"] == "1"
    shown = relabel("label", name, "--as", "judy", "--adjudicate", *at, stdin="a\n")
    assert shown[-1] == "1 results accepted"
    counts = json.loads("".join(relabel("stats", name, *at)))
    assert (counts["numDone"], counts["numChanged"]) == ("1", "1")
    assert counts["numEscalated"] == "0"


def test_who_answers_must_be_said(server: ServerProcess) -> None:
    with pytest.raises(InvalidInput, match="RELABEL_TOKEN"):
        relabel("lease", "campaigns/any", "--address", server.address)
