"""Items from a shell: lease and submit as JSON lines, or label at the keyboard."""

import sys
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from rich.console import Console

from relabel_service.cli import output
from relabel_service.cli.connection import LOCAL, Address, CampaignName, Labeler, client_of
from relabel_service.cli.label import label_in_terminal
from relabel_service.errors import InvalidInput, Violation
from relabel_service.media import prefixes
from relabel_service.v1 import leases_pb2

MaxItems = Annotated[int, typer.Option(help="how many items to lease at once")]
Adjudicate = Annotated[
    bool, typer.Option("--adjudicate", help="decide disputed items, as an adjudicator")
]


def lease(
    context: typer.Context,
    campaign: CampaignName,
    labeler: Labeler = "",
    max_items: MaxItems = 1,
    wait: Annotated[float, typer.Option(help="seconds to wait for an item")] = 0.0,
    adjudicate: Adjudicate = False,
    address: Address = LOCAL,
) -> None:
    """Lease items; prints each lease as a line of JSON."""
    with client_of(context, address, labeler) as client:
        leases = client.lease(campaign, max_items=max_items, wait_s=wait, adjudicate=adjudicate)
        for item_lease in leases:
            print(MessageToJson(item_lease, indent=None))


def submit(
    context: typer.Context, campaign: CampaignName, labeler: Labeler = "", address: Address = LOCAL
) -> None:
    """Submit results from standard input, each a line of JSON."""
    results = [_result(number, line) for number, line in enumerate(sys.stdin, 1) if line.strip()]
    with client_of(context, address, labeler) as client:
        for outcome in client.submit(campaign, results):
            print(MessageToJson(outcome, indent=None))


def label(
    context: typer.Context,
    campaign: CampaignName,
    labeler: Labeler = "",
    max_items: MaxItems = 10,
    adjudicate: Adjudicate = False,
    media_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store under which addresses of pictures and sounds are opened; again "
            "for more; none is when left out",
            show_default=False,
        ),
    ] = None,
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """Label in this terminal, from the keyboard."""
    opened = prefixes.only_under(prefixes.checked(media_prefix or ()))
    with client_of(context, address, labeler) as client, opened:
        num = label_in_terminal(
            client, campaign, max_items=max_items, console=Console(), adjudicate=adjudicate
        )
    output.print_result(f"{num} results accepted", as_json=as_json, num_accepted=num)


def add_commands(app: typer.Typer) -> None:
    app.command()(lease)
    app.command()(submit)
    app.command()(label)


def _result(number: int, line: str) -> leases_pb2.Result:
    try:
        return Parse(line, leases_pb2.Result())
    except ParseError as error:
        raise InvalidInput([Violation(f"line {number}", f"is not a result: {error}")]) from None
