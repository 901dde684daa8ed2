"""How commands print results: tables that fit a terminal, or JSON with --json."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def table(headings: Sequence[str], *, title: str | None = None, right: bool = False) -> Table:
    """An empty table whose headings break between words and are never cut; long cells are folded.

    right: whether columns after the first are numbers, aligned to the right.
    """
    shown = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        longest = max(map(len, re.split(r"\s+", heading)), default=1)
        shown.add_column(
            heading,
            min_width=longest,
            overflow="fold",
            justify="right" if right and place else "left",
        )
    return shown


def print_result(words: str, *, as_json: bool, **result: Any) -> None:
    """A sentence for people, or the result's fields as one line of JSON."""
    print(json.dumps(result, ensure_ascii=False) if as_json else words)
