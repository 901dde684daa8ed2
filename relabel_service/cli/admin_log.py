"""What admins did, for a terminal."""

from datetime import datetime
from itertools import islice
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from rich.console import Console

from relabel_service.cli import output
from relabel_service.cli.connection import LOCAL, Address, client_of
from relabel_service.cli.render import harmless
from relabel_service.v1 import relabel_service_pb2 as rpc


def log(
    context: typer.Context,
    campaign: Annotated[
        str, typer.Argument(help="of this campaign alone; without it, of all", show_default=False)
    ] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
            help="from then on, in this machine's time zone",
            show_default=False,
        ),
    ] = None,
    who: Annotated[str, typer.Option(help="of this admin alone", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="the newest so many; 0: all")] = 100,
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """List what admins did, the newest first; with --json, each as a line."""
    shown = output.table(("time", "who", "call", "campaign", "outcome", "request"))
    with client_of(context, address) as client:
        actions = client.admin_actions(
            campaign, since=since.astimezone() if since else None, who=who
        )
        for action in islice(actions, limit or None):
            if as_json:
                print(MessageToJson(action, indent=None))
            else:
                shown.add_row(*map(harmless, _cells(action)))
    if not as_json:
        Console().print(shown)


def _cells(action: rpc.AdminAction) -> tuple[str, ...]:
    began = action.time.ToDatetime().isoformat(" ", "seconds")
    outcome = action.outcome or "not known"
    campaign = action.campaign.removeprefix("campaigns/")
    return began, action.who, action.method, campaign, outcome, action.request


def add_commands(app: typer.Typer) -> None:
    app.command()(log)
