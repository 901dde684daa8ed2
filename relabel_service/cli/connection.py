"""How the commands reach a service: options that they share, and the client that they make."""

from importlib.metadata import version
from typing import Annotated

import typer

from relabel_service.client import Client
from relabel_service.errors import InvalidInput

Address = Annotated[
    str, typer.Option("--address", envvar="RELABEL_ADDRESS", help="host:port of the service")
]
Labeler = Annotated[
    str,
    typer.Option("--as", envvar="RELABEL_LABELER", help="who labels, where there are no keys"),
]
CampaignName = Annotated[
    str, typer.Argument(help="its id, with or without campaigns/ before it", show_default=False)
]

LOCAL = "localhost:9000"
OPERATOR = "operator"  # who calls, where nobody labels


def _print_version(asked: bool) -> None:
    if asked:
        print(f"relabel-service {version('relabel-service')}")
        raise typer.Exit


def connect(
    context: typer.Context,
    token: Annotated[
        str, typer.Option(envvar="RELABEL_TOKEN", help="proves who asks", show_default=False)
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="encrypt, as a gateway expects")] = False,
    ca_file: Annotated[
        str,
        typer.Option(
            envvar="RELABEL_CA_FILE",
            help="PEM file of whom to trust; the system's certificates when left out",
            show_default=False,
        ),
    ] = "",
    client_certificate: Annotated[
        str, typer.Option(help="PEM file of a certificate to show", show_default=False)
    ] = "",
    client_key: Annotated[
        str, typer.Option(help="PEM file of its private key", show_default=False)
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="send the token without --tls beyond this machine")
    ] = False,
    on_behalf_of: Annotated[
        str, typer.Option(help="for whom to answer, with a frontend's token", show_default=False)
    ] = "",
    version_: Annotated[
        bool,
        typer.Option(
            "--version", help="print the version and end", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Hand suspicious labels to people and take their decisions."""
    context.obj = {
        "token": token,
        "tls": tls,
        "ca_file": ca_file,
        "client_certificate": client_certificate,
        "client_key": client_key,
        "allow_plaintext_token": insecure,
        "on_behalf_of": on_behalf_of,
    }


def client_of(context: typer.Context, address: str, labeler: str = OPERATOR) -> Client:
    """The client that the options of a command ask for. Raises InvalidInput."""
    connection = dict(context.obj)
    on_behalf_of = connection.pop("on_behalf_of")
    if not labeler and not connection["token"]:
        raise InvalidInput.of("--as", "is not set; name who labels, or set RELABEL_TOKEN")
    client = Client(address, labeler=labeler, **connection)
    return client.on_behalf_of(on_behalf_of) if on_behalf_of else client
