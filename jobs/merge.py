"""Turn a finalized campaign's results into the data set's next Delta version.

    python -m jobs.merge --dataset data/train --text-column text --label-column label \\
        --id-column id --results data/results --campaign round-1 --lineage data/lineage
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cluster.versions.merge import Consensus, MergeConfig, merge
from jobs.common import options
from jobs.common.session import run
from relabel_service.wire.names import campaign_id

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@options.grouped
def main(
    columns: options.ColumnOptions,
    dataset: options.DeltaDataset,
    results: Annotated[str, typer.Option(help="results table that finalizing wrote")],
    campaign: Annotated[str, typer.Option(help="its id, with or without campaigns/ before it")],
    lineage: Annotated[str, typer.Option(help="Delta table of who changed what and why")],
    skip_changed: Annotated[
        bool,
        typer.Option("--skip-changed", help="leave rows alone that cannot be written"),
    ] = False,
    consensus: options.ConsensusMethod = Consensus.MAJORITY,
    incarnation: Annotated[
        str | None,
        typer.Option(help="which campaign of that id, where the results hold several"),
    ] = None,
) -> None:
    """Merge; prints JSON."""
    merged = merge(
        MergeConfig(
            columns.source(dataset),
            results,
            campaign_id(campaign, field="--campaign"),
            lineage,
            skip_changed=skip_changed,
            consensus=consensus,
            incarnation=incarnation,
        )
    )
    print(json.dumps(asdict(merged), indent=2))


if __name__ == "__main__":
    run(app)
