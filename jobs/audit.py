"""Show the worst labels of a table, of any kind that import reads: no Ray, no service.

relabel audit reviews.csv
python -m jobs.audit reviews.csv --label-column sentiment --budget 10%
"""

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from cluster.auditing.audit import NUM_SHOWN, AuditConfig, audit, next_step
from cluster.mining.selection import parse_budget
from jobs.common import options
from jobs.common.session import run, warn
from relabel_service.tasks import TASKS

WIDTH = 80  # of what is printed where the output is no terminal

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    table: Annotated[
        str, typer.Argument(help="file, folder or address of the labelled data", show_default=False)
    ],
    task: Annotated[
        str | None,
        typer.Option(help=f"one of {', '.join(TASKS)}; guessed when left out", show_default=False),
    ] = None,
    content_column: Annotated[
        list[str] | None,
        typer.Option(
            "--content-column",
            "--text-column",
            "--image-column",
            "--audio-column",
            "--tokens-column",
            help="column of what is labelled; guessed when left out",
            show_default=False,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="column of the human label; guessed when left out", show_default=False),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="column of the row's id; guessed, or the row's number", show_default=False
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help="share of the rows to show: 5% or 0.05")] = "5%",
    classes: Annotated[
        str, typer.Option(help="classes to look at, with commas between; all when left out")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(
            help="network to train: Hugging Face id or local path; the built-in one when left out"
        ),
    ] = None,
    encoder: options.Encoder = None,
    predictions: options.Predictions = None,
    predictions_only: options.PredictionsOnly = False,
    page: Annotated[
        Path | None,
        typer.Option(help="HTML page to write; NAME-audit.html here if left out"),
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(help="Delta table to keep the findings in, for `relabel create`"),
    ] = None,
    run_id: Annotated[str, typer.Option(help="name of the run there")] = "audit",
    format_name: Annotated[
        str, typer.Option("--format", help="of the data, as import has them; guessed without it")
    ] = "",
    media: Annotated[
        str, typer.Option(help="folder or address of the pictures or sounds", show_default=False)
    ] = "",
    seed: Annotated[int, typer.Option(help="makes folds and models repeatable")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON in place of the listing")
    ] = False,
) -> None:
    """Find the worst labels of a table; prints them and writes one page."""
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    config = AuditConfig(
        budget=parse_budget(budget),
        classes=tuple(name.strip() for name in classes.split(",") if name.strip()),
        model=model,
        encoder=encoder,
        predictions=tuple(predictions or ()),
        predictions_only=predictions_only,
        seed=seed,
        format=format_name,
        media=media or None,
        findings_uri=findings,
        run_id=run_id,
    )
    found = audit(
        table,
        label_column,
        content=tuple(content_column or ()),
        task=task,
        id=id_column,
        config=config,
    )
    print(f"taken for {found.columns.in_words}", file=sys.stderr)
    print("say otherwise by --task, --content-column, --label-column, --id-column", file=sys.stderr)
    warn(found.warnings)
    path = page or Path(f"{_name(table)}-audit.html")
    num_bytes = found.report(path, title=f"Audit of {table}", command=next_step(found, table))
    if as_json:
        print(json.dumps({**found.to_dict(), "page": str(path), "page_bytes": num_bytes}, indent=2))
        return
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    print(found.worst(num_items=NUM_SHOWN, width=width))
    print(f"\n{found.summary}; the page: {path} ({num_bytes / 1e6:.1f} MB)")
    print(f"next: {next_step(found, table)}")


def _name(table: str) -> str:
    """The table's name without folder and ending."""
    return Path(table.rstrip("/").rpartition("/")[2]).stem or "table"


if __name__ == "__main__":
    run(app)
