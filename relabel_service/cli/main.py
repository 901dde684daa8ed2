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

import typer
from rich.console import Console

from relabel_service.cli import (
    admin_log,
    backup,
    bridge,
    campaigns,
    connection,
    formats,
    labeling,
    serving,
)
from relabel_service.cli.installed import Commands
from relabel_service.cli.render import harmless
from relabel_service.errors import RelabelError

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
app.callback()(connection.connect)
for part in (serving, campaigns, labeling, bridge, admin_log, formats, backup):
    part.add_commands(app)


def main() -> None:
    """Run the command; errors meant for people go to stderr with exit code 1."""
    try:
        app()
    except RelabelError as error:
        told = f"[red]relabel:[/red] {harmless(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
