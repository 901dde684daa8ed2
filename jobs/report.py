"""Write one page of a run's findings that needs no network, to look at and to send.

python -m jobs.report data/findings --run-id round-1 --out page.html
"""

from pathlib import Path
from typing import Annotated

import typer

from jobs.common.findings_page import NUM_ON_PAGE, write_page
from jobs.common.session import run
from relabel_service.cli import output
from relabel_service.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    findings: Annotated[
        str, typer.Argument(help="findings table: local path or URL", show_default=False)
    ],
    run_id: Annotated[str, typer.Option(help="the run whose findings are shown")],
    out: Annotated[Path, typer.Option(help="file to write, such as page.html")],
    top: Annotated[int, typer.Option(help="show this many of the worst")] = NUM_ON_PAGE,
    as_json: output.Json = False,
) -> None:
    """Write a page: items with both labels, class pairs, duplicates, label counts."""
    if top < 1:
        raise InvalidInput.of("top", f"{top} is not a number of items; give 1 or more")
    num_bytes = write_page(findings, run_id, out, num_items=top)
    page = str(out.absolute())
    words = f"page: {page} ({num_bytes / 1e6:.1f} MB)"
    output.print_result(words, as_json=as_json, page=page, num_bytes=num_bytes)


if __name__ == "__main__":
    run(app)
