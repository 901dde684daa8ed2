"""What a job shows of a run's findings: the worst on the terminal, and a page beside the table."""

import json
import shlex
import shutil
import sys
from pathlib import Path

from cluster.data.rows import Source
from cluster.io.run_folder import run_folder
from cluster.mining.config import MineResult
from cluster.mining.mine import RESULT
from cluster.report import TableRows, terminal, write
from cluster.training.model_store import ModelStore
from jobs.common.session import warn
from relabel_service.errors import NotFound, RelabelError
from relabel_service.tables import delta

NUM_SHOWN = 10  # on the terminal
NUM_ON_PAGE = 1_000
NUM_UNASKED = 200  # on a page that nobody has asked for: a picture takes some 20 ms
CHEAP_ROWS = 100_000  # tables of more are not read for a page that nobody has asked for


def show_findings(findings_uri: str, run_id: str) -> Path | None:
    """On stderr: the worst findings, and where their page is; returns the page, if there is one.

    The page is written where the findings lie in a local folder and the table is not large.
    """
    rows = table_rows(findings_uri, run_id)
    worst = delta.read_run(findings_uri, run_id, num_rows=NUM_SHOWN)
    width = shutil.get_terminal_size().columns
    shown = terminal.worst(worst, rows, num_items=NUM_SHOWN, width=width)
    print(f"\nThe worst of run {run_id}:\n{shown}\n", file=sys.stderr)
    command = f"relabel report {shlex.join([findings_uri, '--run-id', run_id])} --out page.html"
    if "://" in findings_uri or rows.mined is None or rows.mined.num_rows > CHEAP_ROWS:
        print(f"A page of them: {command}", file=sys.stderr)
        return None
    out = Path(f"{findings_uri.rstrip('/')}-{run_id}.html")
    try:
        write_page(findings_uri, run_id, out, rows=rows, num_items=NUM_UNASKED)
    except (RelabelError, OSError) as error:
        warn([f"no page was written to {str(out)!r} ({error}); write one elsewhere: {command}"])
        return None
    print(f"page: {out.absolute()}", file=sys.stderr)
    return out


def write_page(
    findings_uri: str,
    run_id: str,
    out: Path,
    *,
    rows: TableRows | None = None,
    num_items: int = NUM_ON_PAGE,
) -> int:
    """Write the run's page, and return its bytes. Raises NotFound when the run is not there."""
    findings = delta.read_run(findings_uri, run_id, num_rows=num_items)
    return write(
        findings,
        table_rows(findings_uri, run_id) if rows is None else rows,
        out,
        title=f"Findings of {run_id}",
        command=next_command(findings_uri, run_id),
        num_items=num_items,
    )


def table_rows(findings_uri: str, run_id: str) -> TableRows:
    """What the run's result says of its table; nothing where it left none, as in jobs.pattern."""
    folder = run_folder(findings_uri, run_id)
    if not folder.exists(RESULT):
        return TableRows()
    stored = json.loads(folder.read(RESULT))
    if "noise_matrix" not in stored:
        return TableRows()
    mined = MineResult(**stored)
    if not mined.source:  # by an earlier release
        return TableRows(mined=mined)
    source = Source.from_dict(mined.source)
    try:
        trained = ModelStore(mined.training).manifest()
    except NotFound:
        return TableRows(source, mined)
    is_same = (trained.source.uri, trained.source.version) == (source.uri, source.version)
    return TableRows(source, mined, trained.folds.near_duplicates if is_same else None)


def next_command(findings_uri: str, run_id: str) -> str:
    """How the findings are handed to people."""
    run = shlex.quote(run_id)
    return (
        f"relabel serve &\nrelabel create {run} --findings {shlex.quote(findings_uri)} "
        f"--run-id {run}\nrelabel label {run} --as YOUR_NAME"
    )
