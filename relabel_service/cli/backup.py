"""`relabel backup` and `relabel restore`: the queue database in one file, and back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

Queue = Annotated[str, typer.Option(help="SQLAlchemy URL of the queue database")]


def backup(
    queue: Queue,
    to: Annotated[Path, typer.Option(help="file to write; an earlier backup there is replaced")],
) -> None:
    """Back the queue database up as it is at one moment, while it is served."""
    from relabel_service.queue.backup import back_up

    done = back_up(queue, to)
    print(
        f"{to}: {done.num_campaigns} campaigns and {done.num_answers} answers, as of "
        f"{_minute(done.time)}"
    )


def restore(
    file: Annotated[
        Path, typer.Argument(help="what relabel backup has written", show_default=False)
    ],
    queue: Queue,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            help="results table to which answers were exported: what it holds and the backup does "
            "not is told; may be repeated",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Restore a backup into an empty queue database, and say what was lost."""
    from relabel_service.queue.backup import read_info
    from relabel_service.queue.backup import restore as bring_back
    from relabel_service.queue.store import open_store
    from relabel_service.server.lost_answers import lost_answers

    taken = read_info(file)
    store = open_store(queue)
    try:
        restored = bring_back(file, store)
        lost = lost_answers(store, answers or ())
    finally:
        store.close()
    what = "restored" if restored else "restored before, so nothing changed"
    print(f"{taken.num_campaigns} campaigns and {taken.num_answers} answers {what}")
    if restored:
        print(
            f"what changed after {_minute(taken.time)} is lost: leases (their tokens are stale), "
            "campaigns, and answers but those in results tables"
        )
    for each in lost:
        print(f"lost: {each}")
    if not lost:
        print("no results table that was looked at holds answers that the queue does not")


def _minute(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def add_commands(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)
