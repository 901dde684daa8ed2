"""Score every row of a table against a training, and keep the worst as findings.

    python -m jobs.mine --dataset data/train --model models/v1 --findings data/findings \\
        --quarantine data/quarantine --run-id round-1 --budget 5%
"""

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer

from cluster.engine.base import BATCH_ROWS
from cluster.engine.devices import Workers
from cluster.inference.predict import InferenceConfig, Sampling
from cluster.mining.feedback_data import learn_from_lineage
from cluster.mining.mine import MineConfig, delete_predictions, mine, write_label_confidence
from cluster.mining.selection import Selection, parse_budget
from cluster.scores.feedback import Feedback
from cluster.training.model_store import ModelStore
from jobs.common import options
from jobs.common.session import ray_session, run
from relabel_service.tables.lineage import decided_keys

LONG = ("rest", "noise_matrix")  # for mined.json and the loop's report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    dataset: options.Dataset,
    model: Annotated[str, typer.Option(help="folder that jobs.train wrote")],
    findings: Annotated[str, typer.Option(help="Delta table to write findings to")],
    run_id: Annotated[str, typer.Option(help="names this run; repeated, it continues the run")],
    quarantine: Annotated[
        str | None, typer.Option(help="Delta table of unfit rows; FINDINGS-quarantine if left out")
    ] = None,
    version: options.Version = None,
    top: options.Top = None,
    budget: options.Budget = None,
    threshold: options.Threshold = None,
    unit: Annotated[
        list[str] | None, typer.Option(help="class to ask about; again for more; all if left out")
    ] = None,
    predictions: Annotated[
        Sampling, typer.Option(help="by models that did or did not see the row")
    ] = Sampling.OUT_OF_SAMPLE,
    lineage: Annotated[
        str | None,
        typer.Option(
            help="lineage table; labels decided there are not asked again, and teach the ranking"
        ),
    ] = None,
    feedback: options.UseFeedback = True,
    label_confidence: options.LabelConfidenceUri = None,
    disagreement: options.Disagreement = None,
    encoder: options.Encoder = None,
    audit: options.Audit = 0,
    batch_rows: Annotated[int, typer.Option(help="rows sorted by length at once")] = BATCH_ROWS,
    keep_predictions: Annotated[
        bool,
        typer.Option("--keep-predictions", help="leave what was judged, for a later --reuse-run"),
    ] = False,
    reuse_run: Annotated[
        str | None,
        typer.Option(
            help="earlier run by the same training into the same table that kept its judgements; "
            "only rows new or changed since then are predicted"
        ),
    ] = None,
    num_workers: options.NumWorkers = 1,
    use_gpu: options.UseGpu = False,
    cpus_per_gpu: options.CpusPerGpu = 1,
) -> None:
    """Mine; prints JSON."""
    selection = Selection(
        top=top, budget=parse_budget(budget) if budget else None, threshold=threshold
    )
    source = options.like_trained(ModelStore(model).manifest(), dataset, version=version)
    mining = MineConfig(
        source=source,
        store_uri=model,
        findings_uri=findings,
        quarantine_uri=quarantine or f"{findings.rstrip('/')}-quarantine",
        run_id=run_id,
        selection=selection,
        inference=InferenceConfig(
            predictions, batch_rows, Workers(num_workers, use_gpu, cpus_per_gpu)
        ),
        decided=decided_keys(lineage),
        units=tuple(unit or ()),
        disagreement=disagreement,
        encoder=encoder,
        num_audit=audit,
        feedback=learn_from_lineage(lineage) if feedback else Feedback(),
        keep_predictions=keep_predictions,
        reuse_run=reuse_run,
    )
    with ray_session() as engine:
        if label_confidence is None:
            mined = mine(mining, engine)
        else:
            mined = mine(replace(mining, keep_predictions=True), engine)
            write_label_confidence(mining, label_confidence)
            if not keep_predictions:
                delete_predictions(findings, run_id)
    told = {name: value for name, value in asdict(mined).items() if name not in LONG}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    run(app)
