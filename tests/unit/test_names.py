"""A campaign is named by its id, with or without `campaigns/`, wherever a user names one."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jwt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from google.protobuf.message import Message
from typer.main import get_command
from typer.testing import CliRunner

from cluster.versions.merge import MergeConfig
from jobs import merge as merge_job
from relabel_service import Client, InvalidInput, client
from relabel_service.cli.main import app as relabel
from relabel_service.errors import NotFound
from relabel_service.v1 import relabel_service_pb2 as rpc

BOTH = ("demo", "campaigns/demo")


class RecordingChannel:
    """In place of a connection: keeps requests, and gives empty responses."""

    requests: list[Message]

    def __init__(self, *_: Any, **__: Any) -> None:
        self.requests = RecordingChannel.requests

    def close(self) -> None:
        pass

    def call(self, method: str, request: Message, *, extra_s: float = 0.0) -> Any:
        is_deleted = any(isinstance(one, rpc.DeleteCampaignRequest) for one in self.requests)
        self.requests.append(request)
        if is_deleted and method == "GetCampaign":
            raise NotFound("deleted")
        return getattr(rpc, f"{method}Response")()

    def follow(self, method: str, request: Message) -> Iterator[Any]:
        self.requests.append(request)
        return iter(())

    def reconnecting(self, open_stream: Callable[[bool], Iterator[Any]]) -> Iterator[Any]:
        return open_stream(False)


@pytest.fixture(autouse=True)
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    monkeypatch.setattr(client, "Channel", RecordingChannel)
    RecordingChannel.requests = []
    return RecordingChannel.requests


def named(requests: Sequence[Message]) -> set[str]:
    """The campaigns that the requests are about."""
    fields = [{field.name: value for field, value in request.ListFields()} for request in requests]
    return {one.get("parent") or one.get("name") or f"id {one['campaign_id']}" for one in fields}


METHODS = [
    name
    for name, method in inspect.getmembers(Client, inspect.isfunction)
    if not name.startswith("_") and "campaign" in inspect.signature(method).parameters
]
ARGUMENTS: dict[str, Any] = {
    "tokens": ["token"], "results": [], "findings_uri": "f", "run_id": "r", "results_uri": "r",
    "max_outstanding": 1,
}  # fmt: skip


def call(method: str, campaign: str) -> None:
    """Call the client's method with whatever else it needs."""
    bound = getattr(Client("localhost:1", labeler="ann"), method)
    required = [
        name
        for name, parameter in inspect.signature(bound).parameters.items()
        if name == "campaign"
        or (parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD)
    ]
    result = bound(**{name: ARGUMENTS.get(name, campaign) for name in required})
    if method == "leases":
        with result:
            pass
    elif isinstance(result, Iterator):
        list(result)


def test_most_methods_are_about_a_campaign() -> None:
    assert {"lease", "leases", "submit", "finalize", "create_campaign"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_client_takes_both_forms(method: str, requests: list[Message]) -> None:
    for campaign in BOTH:
        call(method, campaign)
    assert named(requests) == {"id demo" if method == "create_campaign" else "campaigns/demo"}
    with pytest.raises(InvalidInput, match=r"campaign: 'items/Demo' .*up to 63 of a-z"):
        call(method, "items/Demo")


COMMANDS = [
    name
    for name, command in get_command(relabel).commands.items()  # type: ignore[attr-defined]
    if any(parameter.name == "campaign" for parameter in command.params)
]
OPTIONS = {
    "create": ["--findings", "f", "--run-id", "r"],
    "finalize": ["--results", "r"],
    "export-answers": ["--to", "r"],
    "lease": ["--as", "ann"],
    "submit": ["--as", "ann"],
    "label": ["--as", "ann"],
}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "token"])
def test_every_command_takes_both_forms(
    command: str, requests: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    for campaign in BOTH:
        result = CliRunner().invoke(relabel, [command, campaign, *OPTIONS.get(command, [])])
        assert result.exit_code == 0, result.output
    assert named(requests) == {"id demo" if command == "create" else "campaigns/demo"}
    refused = CliRunner().invoke(relabel, [command, "Demo!", *OPTIONS.get(command, [])])
    assert isinstance(refused.exception, InvalidInput)
    assert "'Demo!'" in str(refused.exception)


def test_tokens_are_for_campaigns_in_both_forms(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    mint = ["token", "--as", "ann", "--secret", str(secret), "--campaign", "campaigns/demo"]
    result = CliRunner().invoke(relabel, [*mint, "--campaign", "other"])
    claims = jwt.decode(result.output.strip(), options={"verify_signature": False})
    assert claims["campaigns"] == ["demo", "other"]
    refused = CliRunner().invoke(relabel, [*mint, "--campaign", "Demo!"])
    assert "--campaign: 'Demo!'" in str(refused.exception)


def test_merging_takes_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["hi"], "label": ["ham"]}), data)
    merged: list[str] = []

    def record(config: MergeConfig) -> None:
        merged.append(config.campaign)
        raise typer.Exit

    monkeypatch.setattr(merge_job, "merge", record)
    options = ["--dataset", str(data), "--results", "r", "--lineage", "l", "--text-column", "text"]
    for campaign in BOTH:
        done = CliRunner().invoke(merge_job.app, [*options, "--campaign", campaign])
        assert done.exit_code == 0, done
    assert merged == ["demo", "demo"]
    refused = CliRunner().invoke(merge_job.app, [*options, "--campaign", "Demo!"])
    assert "--campaign: 'Demo!'" in str(refused.exception)
