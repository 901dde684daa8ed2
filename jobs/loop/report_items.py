"""The findings of each round on the loop's page: the label before, and what people decided."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.rows import Source
from cluster.io.folder import Folder
from cluster.report import TableRows
from cluster.report.markup import Html, join, tag
from cluster.report.page import items_html
from jobs.loop.rounds import Round
from relabel_service.tables import delta

MAX_ITEMS = 30  # of a round, the worst
MEDIA_BYTES = 400_000  # of a round


def decided_items(folder: Folder, rounds: Sequence[Round], source: Source) -> Html:
    """The worst items of each round that were decided; empty where none was.

    folder: of the loop. source: under whose prefixes pictures and sounds are opened.
    """
    lists = []
    for turn in rounds:
        if turn.mined is None or turn.merged is None:
            continue
        findings = _decided(folder, turn.mined.run_id)
        if findings.num_rows:
            shown = items_html(
                findings, TableRows(source), num_items=MAX_ITEMS, media_bytes=MEDIA_BYTES
            )
            lists += [tag("h3", f"Asked about in {turn.version}"), shown]
    return join(tag("h2", "Items before and after"), *lists) if lists else Html()


def _decided(folder: Folder, run_id: str) -> pa.Table:
    """The run's findings that were decided, with `decided_label` beside, worst first."""
    lineage = delta.read_where(
        folder.address("lineage"), {"run_id": run_id}, columns=["id", "unit", "new_label"]
    )
    decisions = {
        (row["id"], row["unit"]): row["new_label"] for row in lineage.to_pylist()
    }  # the last, if a row was decided twice
    keys = delta.read_run(folder.address("findings"), run_id, columns=["id", "unit", "rank"])
    decided = [row for row in keys.to_pylist() if (row["id"], row["unit"]) in decisions]
    most = max((row["rank"] for row in decided[:MAX_ITEMS]), default=-1)
    findings = delta.read_run(folder.address("findings"), run_id, num_rows=most + 1)
    labels = [
        decisions.get(key)
        for key in zip(findings["id"].to_pylist(), findings["unit"].to_pylist(), strict=True)
    ]
    beside = findings.append_column("decided_label", pa.array(labels, pa.string()))
    return beside.filter(pc.is_valid(beside["decided_label"]))
