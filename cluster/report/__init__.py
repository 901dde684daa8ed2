"""Findings as people look at them: one page that needs no network, or the worst on a terminal.

write            a page of the items, worst first, and of the table as a whole
terminal.worst   the first few as text
"""

import os
from pathlib import Path

import pyarrow as pa

from cluster.report.page import MAX_ITEMS, page
from cluster.report.rows import TableRows

__all__ = ["TableRows", "write"]


def write(
    findings: pa.Table,
    rows: TableRows,
    out: Path,
    *,
    title: str,
    command: str,
    num_items: int = MAX_ITEMS,
) -> int:
    """Write the page, and return its size in bytes; a reader never sees half of it.

    findings: schemas.FINDINGS of one run; `decided_label` may stand beside. The worst `num_items`
    are shown, as far as a few megabytes hold them. command: the next step, shown as it is.
    Raises as cluster.data.rows where the mined table cannot be read.
    """
    data = page(findings, rows, title=title, command=command, num_items=num_items).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    staged.write_bytes(data)
    os.replace(staged, out)
    return len(data)
