"""The recipes of docs/how-to/schedulers.md: jobs take their commands, the manifest is valid."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from relabel_service.cli.main import app
from tests.support.kubernetes_schemas import KUBERNETES_VERSIONS, errors_of

GUIDE = (Path(__file__).parents[2] / "docs/how-to/schedulers.md").read_text()
AIRFLOW, DAGSTER = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
[MANIFEST] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def run(snippet: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(snippet, "schedulers.md", "exec"), names)
    return names


def parse(arguments: list[str]) -> dict[str, Any]:
    """What a command line says, by the command's own parser. Raises where it is not one."""
    if arguments[0] == "relabel":
        group: Any = get_command(app)
        with group.make_context("relabel", arguments[1:]) as context:
            given: list[str] = [*context._protected_args, *context.args]
            name, rest = given[0], given[1:]
            command = group.commands[name]
    else:
        assert arguments[:2] == ["python", "-m"]
        command, rest = get_command(import_module(arguments[2]).app), arguments[3:]
    return dict(command.make_context(arguments[2], rest).params)


AIRFLOWS = {name: value for name, value in run(AIRFLOW).items() if name in (
    "TRAIN", "MINE", "ASK", "FINALIZE", "MERGE")}  # fmt: skip


@pytest.mark.parametrize("name", AIRFLOWS)
def test_airflows_commands_are_taken(name: str) -> None:
    rendered = AIRFLOWS[name].replace("{{ ds }}", "2026-11-24")  # as Airflow does
    assert parse(shlex.split(rendered))


def test_airflow_waits_until_nobody_is_asked_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [(1, 0), (0, 1), (0, 0)]

    class Stats:
        def __init__(self, num_open: int, num_leased: int) -> None:
            self.num_open, self.num_leased = num_open, num_leased

    class Service:
        def __init__(self, address: str, **settings: Any) -> None:
            assert settings["tls"]

        def __enter__(self) -> "Service":
            return self

        def __exit__(self, *_: object) -> None: ...

        def stats(self, campaign: str) -> Stats:
            assert campaign == "campaigns/round-1"
            return Stats(*left.pop(0))

    monkeypatch.setattr("relabel_service.Client", Service)
    is_answered = run(AIRFLOW)["is_answered"]
    assert [is_answered("host:443", "round-1") for _ in range(3)] == [False, False, True]


def test_dagsters_commands_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = re.findall(r"relabel_job\(\s*(\"jobs\.[^)]*)\)", DAGSTER)
    for arguments in calls:
        known = {"out": "models/1", "week": "1"}
        assert parse(["python", "-m", *eval(f"[{arguments}]", known)])
    assert len(calls) == 2


def test_the_rayjob_is_valid_and_its_command_is_taken() -> None:
    job = yaml.safe_load(MANIFEST)
    assert errors_of(job, version=KUBERNETES_VERSIONS[-1]) == []
    assert parse(shlex.split(job["spec"]["entrypoint"]))["num_workers"] == 2
