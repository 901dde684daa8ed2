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
def main(
    dataset: options.Dataset,
    results: Annotated[str, typer.Option(help="results table that finalizing wrote")],
    campaign: Annotated[str, typer.Option(help="its id, with or without campaigns/ before it")],
    lineage: Annotated[str, typer.Option(help="Delta table of who changed what and why")],
    task: options.TaskName = "text_classification",
    content_column: options.ContentColumns = None,
    label_column: options.LabelColumn = "label",
    id_column: options.IdColumn = None,
    skip_changed: Annotated[
        bool, typer.Option("--skip-changed", help="leave rows alone that changed meanwhile")
    ] = False,
    consensus: options.HowDecided = Consensus.MAJORITY,
) -> None:
    """Merge; prints JSON."""
    source = options.source_of(
        dataset,
        task=task,
        content_columns=content_column,
        label_column=label_column,
        id_column=id_column,
        version=None,
    )
    merged = merge(
        MergeConfig(
            source,
            results,
            campaign_id(campaign, field="--campaign"),
            lineage,
            skip_changed=skip_changed,
            consensus=consensus,
        )
    )
    print(json.dumps(asdict(merged), indent=2))


if __name__ == "__main__":
    run(app)
