"""A keyboard labeler for the terminal: each item is a screen, each decision a key."""

import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.prompt import Prompt
from rich.text import Text

from relabel_service.cli import render
from relabel_service.client import Client
from relabel_service.decisions import accept, confirm, escalate, relabel, skip
from relabel_service.v1 import items_pb2, leases_pb2
from relabel_service.wire.label_text import label_text

MAX_SPENT_S = 24 * 3600.0  # that a result may say
KEYS = {
    "c": "confirm the human label",
    "a": "accept the suggestion",
    "p": "take the preferred label",
    "o": "other label",
    "s": "skip",
    "e": "escalate",
    "q": "quit",
}
OFFERED: Mapping[str, Callable[[items_pb2.Item], bool]] = {
    "a": lambda item: bool(item.suggestions),
    "p": lambda item: item.HasField("preferred_label"),
}


def label_in_terminal(
    client: Client, campaign: str, *, max_items: int, console: Console, adjudicate: bool = False
) -> int:
    """Ask about items until none is left or the person quits; how many results were accepted.

    Each result is sent at once, so quitting or a lost terminal loses at most the
    item on the screen.
    """
    classes = client.get_campaign(campaign).classes
    num_accepted = 0
    while True:
        with client.leases(campaign, max_items=max_items, adjudicate=adjudicate) as leases:
            if not leases:
                console.print("Nothing is left for you in this campaign.")
                return num_accepted
            for lease in leases:
                began = time.monotonic()
                result = ask(lease, classes, console)
                if result is None:
                    return num_accepted
                result.seconds_spent = min(time.monotonic() - began, MAX_SPENT_S)
                [outcome] = client.submit(campaign, [result])
                if outcome.status == leases_pb2.RESULT_STATUS_ACCEPTED:
                    num_accepted += 1
                else:
                    status = leases_pb2.ResultStatus.Name(outcome.status)
                    console.print(f"[yellow]Not accepted: {status}[/yellow]")


def ask(
    lease: leases_pb2.Lease, classes: Sequence[str], console: Console
) -> leases_pb2.Result | None:
    """Show the item and read one decision; None to quit."""
    missing = {key for key, offers in OFFERED.items() if not offers(lease.item)}
    keys = [key for key in KEYS if key not in missing]
    console.print(screen(lease.item))
    console.print("  ".join(f"[bold]{key}[/bold] {KEYS[key]}" for key in keys))
    match Prompt.ask("decision", choices=keys, show_choices=False, console=console):
        case "c":
            return confirm(lease)
        case "a":
            return accept(lease)
        case "p":
            preferred = lease.item.preferred_label
            is_human_label = preferred == lease.item.human_label
            return confirm(lease) if is_human_label else relabel(lease, preferred)
        case "o":
            label = render.ask_label(lease.item, classes, console)
            return ask(lease, classes, console) if label is None else relabel(lease, label)
        case "s":
            return skip(lease)
        case "e":
            return escalate(lease, Prompt.ask("why", default="", console=console))
    return None


def screen(item: items_pb2.Item) -> Panel:
    lines = [render.content_text(item), Text()]
    lines.append(Text(f"human label  {label_text(item.human_label, item)}", "bold"))
    if item.HasField("preferred_label"):
        lines.append(Text(f"preferred    {label_text(item.preferred_label, item)}", "green"))
    lines += [
        Text(f"model says   {label_text(s.label, item)}{_probability(s)}", "cyan")
        for s in item.suggestions
    ]
    row = item.row_id or item.name.rpartition("/")[2]  # hidden where gold items are mixed in
    about = f"{row} · {item.unit}" if item.unit else row
    suspicion = f" · suspicion {item.suspicion:.2f}" if item.suspicion else ""
    title = f"{render.harmless(about)}{suspicion}"
    return Panel(Group(*lines), title=title, subtitle=render.harmless(item.reason))


def _probability(suggestion: items_pb2.Suggestion) -> str:
    """Empty where the campaign hides it."""
    return f"  {suggestion.probability:.0%}" if suggestion.probability else ""
