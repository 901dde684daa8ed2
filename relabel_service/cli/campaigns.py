"""Campaigns from a shell: list, create, watch, pause, close, publish and delete them."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToJson
from rich.console import Console

from relabel_service.cli import output
from relabel_service.cli.connection import LOCAL, Address, CampaignName, client_of
from relabel_service.cli.render import harmless
from relabel_service.v1 import campaigns_pb2
from relabel_service.visible import visible


class Order(StrEnum):
    WORST_FIRST = "worst-first"
    BY_CLASS = "by-class"
    ALIKE_TOGETHER = "alike-together"


class Skipped(StrEnum):
    OTHERS = "others"
    NEVER_AGAIN = "nobody"


def campaigns(
    context: typer.Context, as_json: output.Json = False, address: Address = LOCAL
) -> None:
    """List the campaigns; with --json, each as a line."""
    shown = output.table(("campaign", "state", "items", "votes", "findings", "run"))
    with client_of(context, address) as client:
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
    with client_of(context, address) as client:
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


def pause(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Lease no more items; results on leased items are still accepted."""
    with client_of(context, address) as client:
        client.pause(campaign)


def resume(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Lease items again."""
    with client_of(context, address) as client:
        client.resume(campaign)


def close(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Take no more results, without publishing them yet."""
    with client_of(context, address) as client:
        client.close_campaign(campaign)


Items = Annotated[
    list[str] | None,
    typer.Option("--item", help="name of an item; again for more", show_default=False),
]
Rows = Annotated[
    list[str] | None,
    typer.Option("--row", help="id of a row, for all its items; again for more"),
]


def reopen(
    context: typer.Context,
    campaign: CampaignName,
    item: Items = None,
    row: Rows = None,
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """Lease items of a closed campaign again; or, with --item or --row, have these decided anew.

    Answers on items that are decided anew are withdrawn: they count no more, and the results
    table keeps them as withdrawn.
    """
    with client_of(context, address) as client:
        if not item and not row:
            reopened = client.reopen_campaign(campaign)
            output.print_result(f"{reopened.name}: open again", as_json=as_json, name=reopened.name)
            return
        done = client.reopen_items(campaign, items=item or (), row_ids=row or ())
    output.print_result(
        f"{done.num_items} items are open again, {done.num_answers} answers withdrawn",
        as_json=as_json,
        num_items=done.num_items,
        num_answers=done.num_answers,
    )


def requeue(
    context: typer.Context,
    campaign: CampaignName,
    item: Items = None,
    row: Rows = None,
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """Offer skipped items to everybody again: those named, or all of the campaign."""
    with client_of(context, address) as client:
        num = client.requeue_skipped(campaign, items=item or (), row_ids=row or ())
    output.print_result(f"{num} skipped items wait again", as_json=as_json, num_items=num)


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
    with client_of(context, address) as client:
        num = client.force_release(campaign, labeler=of, items=item or ())
    print(f"{num} leases released")


def delete(
    context: typer.Context,
    campaign: CampaignName,
    force: Annotated[
        bool, typer.Option("--force", help="even if answers are not published: they are lost")
    ] = False,
    address: Address = LOCAL,
) -> None:
    """Delete a campaign with its items, answers and leases from the queue, for good."""
    with client_of(context, address) as client:
        client.delete_campaign(campaign, force=force)
    print(f"{campaign}: deleted")


def watch(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Print the campaign's counts now and after each change, as JSON, until it is finalized."""
    with client_of(context, address) as client:
        for response in client.watch(campaign):
            print(MessageToJson(response, indent=None), flush=True)


def stats(context: typer.Context, campaign: CampaignName, address: Address = LOCAL) -> None:
    """Count a campaign's items and results."""
    with client_of(context, address) as client:
        print(MessageToJson(client.stats(campaign), always_print_fields_with_no_presence=True))


def finalize(
    context: typer.Context,
    campaign: CampaignName,
    results: Annotated[str, typer.Option(help="where to write the results table")],
    as_json: output.Json = False,
    address: Address = LOCAL,
) -> None:
    """Close a campaign and publish its results as a Delta table."""
    with client_of(context, address) as client:
        done = client.finalize(campaign, results_uri=results)
    if as_json:
        print(MessageToJson(done, indent=None))
    else:
        print(f"{done.name}: results in {visible(done.results_uri)}")


def export_answers(
    context: typer.Context,
    campaign: CampaignName,
    to: Annotated[str, typer.Option(help="results table to write to, made where there is none")],
    address: Address = LOCAL,
) -> None:
    """Write a campaign's answers so far that the table does not hold; the campaign goes on."""
    with client_of(context, address) as client:
        done = client.export_answers(campaign, results_uri=to)
    print(f"{to}: {done.num_answers} answers, {done.num_written} of them new")


def add_commands(app: typer.Typer) -> None:
    app.command()(campaigns)
    app.command()(create)
    app.command()(pause)
    app.command()(resume)
    app.command()(close)
    app.command()(reopen)
    app.command()(requeue)
    app.command("force-release")(force_release)
    app.command()(delete)
    app.command()(watch)
    app.command()(stats)
    app.command()(finalize)
    app.command()(export_answers)


def _state(campaign: campaigns_pb2.Campaign) -> str:
    """In words, with what stopped it."""
    name = campaigns_pb2.CampaignState.Name(campaign.state).removeprefix("CAMPAIGN_STATE_").lower()
    if campaign.HasField("failure"):
        return harmless(f"{name}, stopped: {campaign.failure.message}")
    return name
