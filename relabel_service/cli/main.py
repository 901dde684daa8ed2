"""The `relabel` command: run the service, look at campaigns, label from a terminal.

    relabel serve --queue sqlite:///queue.db
    relabel campaigns
    relabel label demo --as ann

With --secret the service takes tokens, which the other commands read from RELABEL_TOKEN:

    relabel serve --secret FILE
    export RELABEL_TOKEN=$(relabel token --secret FILE --as ann)

Data comes in and goes back by import and export, without a service:

    relabel import annotations.json data/train
    relabel export data/train corrected.json

Where the extra `mine` is installed, so are the jobs' commands (installed.py):

    relabel audit reviews.csv

lease and submit speak JSON lines (the protos' JSON form), for scripts:

    relabel lease demo --as ann --max-items 20 > leases.jsonl
    relabel submit demo --as ann < results.jsonl
"""

import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from rich.console import Console

from relabel_service.cli import backup, formats, output
from relabel_service.cli.installed import Commands
from relabel_service.cli.label import label_in_terminal
from relabel_service.cli.render import harmless
from relabel_service.client import Client
from relabel_service.errors import InvalidInput, RelabelError, Violation
from relabel_service.media import prefixes
from relabel_service.server.auth import (
    DEFAULT_AUDIENCE,
    DEFAULT_ISSUER,
    LABELER,
    ROLES,
    AuthSettings,
    mint,
    read_secret,
)
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.visible import visible
from relabel_service.wire.names import campaign_id

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)

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
MaxItems = Annotated[int, typer.Option(help="how many items to lease at once")]
Adjudicate = Annotated[
    bool, typer.Option("--adjudicate", help="decide disputed items, as an adjudicator")
]


class Order(StrEnum):
    WORST_FIRST = "worst-first"
    BY_CLASS = "by-class"
    ALIKE_TOGETHER = "alike-together"


class Skipped(StrEnum):
    OTHERS = "others"
    NEVER_AGAIN = "nobody"


LOCAL = "localhost:9000"
OPERATOR = "operator"  # who calls, where nobody labels


def _print_version(asked: bool) -> None:
    if asked:
        print(f"relabel-service {version('relabel-service')}")
        raise typer.Exit


@app.callback()
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
    }


@app.command()
def serve(
    queue: Annotated[
        str, typer.Option(help="SQLAlchemy URL of the queue database")
    ] = "sqlite:///relabel-queue.db",
    replicas: Annotated[int, typer.Option(help="more than 1 needs a PostgreSQL queue")] = 1,
    host: Annotated[str, typer.Option(help="address to bind for HTTP")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC port")] = 9000,
    http_port: Annotated[int, typer.Option(help="HTTP port: the page, and Connect calls")] = 8000,
    secret: Annotated[
        str, typer.Option(help="file of the secret that signs tokens", show_default=False)
    ] = "",
    public_key: Annotated[
        str, typer.Option(help="PEM file of the issuer's public key", show_default=False)
    ] = "",
    jwks: Annotated[
        str, typer.Option(help="URL of the issuer's public keys", show_default=False)
    ] = "",
    issuer: Annotated[str, typer.Option(help="whose tokens are taken")] = DEFAULT_ISSUER,
    audience: Annotated[str, typer.Option(help="for whom the tokens must be")] = DEFAULT_AUDIENCE,
    is_open: Annotated[
        bool, typer.Option("--open", help="accept everybody: a gateway authenticates")
    ] = False,
    media_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store whose files the page may show, where rows hold addresses; "
            "may be repeated"
        ),
    ] = None,
    table_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store whose tables admins may name, to be read and written; may be "
            "repeated; without it, any"
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="site whose pages may call over HTTP; may be repeated"),
    ] = None,
    export_to: Annotated[
        str, typer.Option(help="results table to which answers are exported", show_default=False)
    ] = "",
    export_every: Annotated[float, typer.Option(help="minutes between two exports")] = 10.0,
    retention_days: Annotated[
        float, typer.Option(help="delete campaigns so long after they were finalized; 0: never")
    ] = 0.0,
    heartbeat: Annotated[
        float, typer.Option(help="seconds between signs of life in a silent stream, up to 30")
    ] = 20.0,
    metrics_port: Annotated[
        int, typer.Option(help="port of the metrics for Prometheus, on all interfaces; 0: any")
    ] = 0,
    audit_log: Annotated[
        str,
        typer.Option(
            help="file of one JSON line for each change: who, method, campaign, outcome; without "
            "it they go to Ray's logs",
            show_default=False,
        ),
    ] = "",
    until_input_ends: Annotated[
        bool,
        typer.Option("--until-input-ends", help="stop when standard input ends, too"),
    ] = False,
) -> None:
    """Serve campaigns over gRPC and HTTP, and the page to label on, until interrupted.

    Without a key it accepts only callers on this machine.
    """
    from relabel_service.server.app import serve_until_stopped  # Ray only where it is needed
    from relabel_service.server.regular_exports import ExportSettings
    from relabel_service.server.settings import LOCAL_ONLY, OPEN, ServeSettings

    auth: AuthSettings | str = OPEN if is_open else LOCAL_ONLY
    if secret or public_key or jwks:
        auth = AuthSettings(
            secret_file=str(Path(secret).absolute()) if secret else "",
            public_key_file=str(Path(public_key).absolute()) if public_key else "",
            jwks=jwks,
            issuer=issuer,
            audience=audience,
        )
    settings = ServeSettings(
        queue_url=queue,
        num_replicas=replicas,
        auth=auth,
        media_prefixes=tuple(media_prefix or ()),
        table_prefixes=tuple(table_prefix or ()),
        cors_origins=tuple(cors_origin or ()),
        exports=ExportSettings(export_to, 60 * export_every),
        retention_days=retention_days,
        heartbeat_s=heartbeat,
        audit_log=audit_log,
    )
    serve_until_stopped(
        settings,
        host=host,
        port=port,
        http_port=http_port,
        metrics_port=metrics_port,
        until_input_ends=until_input_ends,
    )


@app.command()
def token(
    name: Annotated[str, typer.Option("--as", help="whom the token names", show_default=False)],
    secret: Annotated[
        str, typer.Option(help="file of the secret that signs tokens", show_default=False)
    ],
    role: Annotated[str, typer.Option(help=", ".join(ROLES))] = LABELER,
    campaign: Annotated[
        list[str] | None, typer.Option(help="may be repeated; without it, all campaigns")
    ] = None,
    table_prefix: Annotated[
        list[str] | None,
        typer.Option(help="under which an admin may name tables; may be repeated; without it, any"),
    ] = None,
    hours: Annotated[float, typer.Option(help="how long it is valid")] = 12.0,
    issuer: Annotated[str, typer.Option(help="who gives it")] = DEFAULT_ISSUER,
    audience: Annotated[str, typer.Option(help="for which service")] = DEFAULT_AUDIENCE,
) -> None:
    """Mint a token, for development; in production the identity provider does."""
    minted = mint(
        read_secret(secret),
        name,
        role=role,
        campaigns=tuple(campaign_id(name, field="--campaign") for name in campaign or ()),
        table_prefixes=tuple(table_prefix or ()),
        lifetime_s=3600 * hours,
        issuer=issuer,
        audience=audience,
    )
    print(minted)


@app.command()
def campaigns(
    context: typer.Context, as_json: output.Json = False, address: Address = LOCAL
) -> None:
    """List the campaigns; with --json, each as a line."""
    shown = output.table(("campaign", "state", "items", "votes", "findings", "run"))
    with _client(context, address) as client:
        for campaign in client.list_campaigns():
            if as_json:
                print(MessageToJson(campaign, indent=None))
                continue
            shown.add_row(
                campaign.name,
                _state(campaign),
                str(campaign.num_items),
                str(campaign.votes_required),
                harmless(campaign.findings_uri),
                harmless(campaign.run_id),
            )
    if not as_json:
        Console().print(shown)


@app.command()
def create(
    context: typer.Context,
    campaign: Annotated[
        str, typer.Argument(help="the id it gets: a-z, 0-9 and -, up to 63", show_default=False)
    ],
    findings: Annotated[str, typer.Option(help="address of the findings table")],
    run_id: Annotated[str, typer.Option(help="the mine run within it")],
    lease_duration: Annotated[float, typer.Option(help="seconds a lease lasts")] = 300.0,
    votes_required: Annotated[int, typer.Option(help="votes an item needs")] = 1,
    max_votes: Annotated[int, typer.Option(help="votes while they do not agree")] = 0,
    min_agreement: Annotated[float, typer.Option(help="share of votes that must agree")] = 0.0,
    order: Annotated[Order, typer.Option(help="in which items are leased")] = Order.WORST_FIRST,
    skipped: Annotated[Skipped, typer.Option(help="who sees a skipped item")] = Skipped.OTHERS,
    blind_share: Annotated[float, typer.Option(help="share shown without suggestions")] = 0.0,
    gold: Annotated[str, typer.Option(help="address of items whose label is known")] = "",
    gold_run_id: Annotated[str, typer.Option(help="the run within it")] = "",
    gold_rate: Annotated[float, typer.Option(help="share of items that are gold")] = 0.1,
    audit: Annotated[str, typer.Option(help="address of a sample of unsuspicious rows")] = "",
    audit_run_id: Annotated[str, typer.Option(help="the run within it")] = "",
    audit_population: Annotated[int, typer.Option(help="rows it was drawn from")] = 0,
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """Create a campaign from a mine run's findings."""
    settings: dict[str, Any] = {
        "max_votes": max_votes,
        "min_agreement": min_agreement,
        "item_order": f"ITEM_ORDER_{order.name}",
        "skip_policy": f"SKIP_POLICY_{skipped.name}",
        "blind_share": blind_share,
    }
    if gold:
        settings["gold"] = campaigns_pb2.Gold(uri=gold, run_id=gold_run_id, rate=gold_rate)
    if audit:
        settings["audit"] = campaigns_pb2.Audit(
            uri=audit, run_id=audit_run_id, population=audit_population
        )
    with _client(context, address) as client:
        created = client.create_campaign(
            campaign,
            findings_uri=findings,
            run_id=run_id,
            votes_required=votes_required,
            lease_duration_s=lease_duration,
            **settings,
        )
    if as_json:
        print(MessageToJson(created, indent=None))
    else:
        print(f"{created.name}: {created.num_items} items")


@app.command()
def pause(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Lease no more items; results on leased items are still accepted."""
    with _client(context, address) as client:
        client.pause(campaign)


@app.command()
def resume(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Lease items again."""
    with _client(context, address) as client:
        client.resume(campaign)


@app.command()
def close(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Take no more results, for good, without publishing them yet."""
    with _client(context, address) as client:
        client.close_campaign(campaign)


@app.command("force-release")
def force_release(
    context: typer.Context,
    campaign: CampaignName,
    of: Annotated[str, typer.Option(help="whose leases, all of them", show_default=False)] = "",
    item: Annotated[
        list[str] | None,
        typer.Option(help="name of an item that somebody has leased; again for more"),
    ] = None,
    address: Address = LOCAL,
) -> None:
    """Take leases away from a labeler, or from whoever has an item; others may have the items."""
    with _client(context, address) as client:
        num = client.force_release(campaign, labeler=of, items=item or ())
    print(f"{num} leases released")


@app.command()
def delete(
    context: typer.Context,
    campaign: CampaignName,
    force: Annotated[
        bool, typer.Option("--force", help="even if answers are not published: they are lost")
    ] = False,
    address: Address = LOCAL,
) -> None:
    """Delete a campaign with its items, answers and leases from the queue, for good."""
    with _client(context, address) as client:
        client.delete_campaign(campaign, force=force)
    print(f"{campaign}: deleted")


@app.command()
def watch(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Print the campaign's counts now and after each change, as JSON, until it is finalized."""
    with _client(context, address) as client:
        for response in client.watch(campaign):
            print(MessageToJson(response, indent=None), flush=True)


@app.command()
def stats(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Count a campaign's items and results."""
    with _client(context, address) as client:
        print(MessageToJson(client.stats(campaign), always_print_fields_with_no_presence=True))


@app.command()
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
    with _client(context, address, labeler) as client:
        leases = client.lease(campaign, max_items=max_items, wait_s=wait, adjudicate=adjudicate)
        for item_lease in leases:
            print(MessageToJson(item_lease, indent=None))


@app.command()
def submit(
    context: typer.Context, campaign: CampaignName, labeler: Labeler = "", address: Address = LOCAL
) -> None:
    """Submit results from standard input, each a line of JSON."""
    results = [_result(number, line) for number, line in enumerate(sys.stdin, 1) if line.strip()]
    with _client(context, address, labeler) as client:
        for outcome in client.submit(campaign, results):
            print(MessageToJson(outcome, indent=None))


@app.command()
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
    with _client(context, address, labeler) as client, opened:
        num = label_in_terminal(
            client, campaign, max_items=max_items, console=Console(), adjudicate=adjudicate
        )
    output.print_result(f"{num} results accepted", as_json=as_json, num_accepted=num)


@app.command()
def finalize(
    context: typer.Context,
    campaign: CampaignName,
    results: Annotated[str, typer.Option(help="where to write the results table")],
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """Close a campaign and publish its results as a Delta table."""
    with _client(context, address) as client:
        done = client.finalize(campaign, results_uri=results)
    if as_json:
        print(MessageToJson(done, indent=None))
    else:
        print(f"{done.name}: results in {visible(done.results_uri)}")


@app.command()
def export_answers(
    context: typer.Context,
    campaign: CampaignName,
    to: Annotated[str, typer.Option(help="results table to write to, made where there is none")],
    address: Address = LOCAL,
) -> None:
    """Write a campaign's answers so far that the table does not hold; the campaign goes on."""
    with _client(context, address) as client:
        done = client.export_answers(campaign, results_uri=to)
    print(f"{to}: {done.num_answers} answers, {done.num_written} of them new")


formats.add_commands(app)
backup.add_commands(app)


def main() -> None:
    """Run the command; errors meant for people go to stderr with exit code 1."""
    try:
        app()
    except RelabelError as error:
        told = f"[red]relabel:[/red] {harmless(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        sys.exit(1)


def _client(context: typer.Context, address: str, labeler: str = OPERATOR) -> Client:
    connection = context.obj
    if not labeler and not connection["token"]:
        raise InvalidInput.of("--as", "is not set; name who labels, or set RELABEL_TOKEN")
    return Client(address, labeler=labeler, **connection)


def _state(campaign: campaigns_pb2.Campaign) -> str:
    """In words, with what stopped it."""
    name = campaigns_pb2.CampaignState.Name(campaign.state).removeprefix("CAMPAIGN_STATE_").lower()
    if campaign.HasField("failure"):
        return harmless(f"{name}, stopped: {campaign.failure.message}")
    return name


def _result(number: int, line: str) -> leases_pb2.Result:
    try:
        return Parse(line, leases_pb2.Result())
    except ParseError as error:
        raise InvalidInput([Violation(f"line {number}", f"is not a result: {error}")]) from None


if __name__ == "__main__":
    main()
