"""Score every row of a table against a training, and keep the worst as findings.

    python -m jobs.mine --dataset data/train --training models/v1 --findings data/findings \\
        --quarantine data/quarantine --run-id round-1 --budget 5%
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cluster.data.rows import require_mergeable
from cluster.engine.base import BATCH_ROWS
from cluster.inference.predict import InferenceConfig, Sampling
from cluster.io.tables import count_rows
from cluster.mining.config import MineConfig
from cluster.mining.feedback_data import learn_from_lineage
from cluster.mining.label_confidence import write_label_confidence
from cluster.mining.mine import delete_predictions, mine
from cluster.mining.scored_shards import ScoredRows
from cluster.scores.feedback import Feedback
from cluster.training.model_store import ModelStore
from jobs.common import options
from jobs.common.findings_page import show_findings
from jobs.common.progress import counted
from jobs.common.session import run, session, warn
from jobs.common.tracking import DELTA_VERSION, TrackOption, tracked
from relabel_service.tables.lineage import decided_by_people
from relabel_service.tasks import task_named

# Of a result, for result.json and the reports.
LONG = ("unasked_histogram", "noise_matrix", "label_counts", "source")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@options.grouped
def main(
    selection: options.SelectionOptions,
    engine: options.EngineOptions,
    dataset: options.Dataset,
    training: Annotated[str, typer.Option(help="folder that jobs.train wrote")],
    findings: Annotated[str, typer.Option(help="Delta table to write findings to")],
    run_id: Annotated[str, typer.Option(help="names this run; repeated, it continues the run")],
    quarantine: Annotated[
        str | None,
        typer.Option(help="Delta table of invalid rows; FINDINGS-quarantine if left out"),
    ] = None,
    version: options.Version = None,
    media_prefix: options.MediaPrefix = None,
    unit: Annotated[
        list[str] | None, typer.Option(help="class to ask about; again for more; all if left out")
    ] = None,
    sampling: options.SamplingOption = Sampling.OUT_OF_SAMPLE,
    predictions: options.Predictions = None,
    predictions_only: options.PredictionsOnly = False,
    lineage: Annotated[
        str | None,
        typer.Option(
            help="lineage table: labels decided there are not findings, and teach the ranking"
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
        typer.Option("--keep-predictions", help="keep the scored rows, for a later --reuse-run"),
    ] = False,
    each_copy: options.EachCopy = False,
    show: Annotated[
        bool,
        typer.Option(help="show the worst findings, and write a page of them beside the table"),
    ] = True,
    reuse_run: Annotated[
        str | None,
        typer.Option(
            help="earlier run by the same training into the same table that kept its predictions; "
            "only rows new or changed since then are predicted"
        ),
    ] = None,
    track: TrackOption = None,
) -> None:
    """Mine; prints JSON, and on standard error the worst findings."""
    workers = engine.workers()
    manifest = ModelStore(training).manifest()
    source = require_mergeable(
        options.like_trained(manifest, dataset, version=version, media_prefix=media_prefix)
    )
    config = MineConfig(
        source=source,
        store_uri=training,
        findings_uri=findings,
        quarantine_uri=quarantine or f"{findings.rstrip('/')}-quarantine",
        run_id=run_id,
        selection=selection.selection(),
        inference=InferenceConfig(sampling, batch_rows, workers),
        decided=decided_by_people(lineage),
        units=tuple(unit or ()),
        disagreement=disagreement,
        encoder=encoder,
        num_audit=audit,
        feedback=learn_from_lineage(lineage) if feedback else Feedback(),
        keep_predictions=keep_predictions or label_confidence is not None,
        reuse_run=reuse_run,
        each_copy=each_copy,
        predictions=tuple(predictions or ()),
        predictions_only=predictions_only,
    )
    num_units = len(task_named(source.task).units(manifest.classes))
    scored = ScoredRows(config.folder, num_units)
    with (
        tracked(track, "mine", f"{findings}#{run_id}") as record,
        session(engine.engine, workers=workers) as running,
    ):
        record.parameters(
            {
                "dataset": dataset,
                "training": training,
                "run_id": run_id,
                "task": source.task,
                "selection": asdict(config.selection),
                "sampling": sampling.value,
                "disagreement": disagreement,
                "encoder": encoder,
                "predictions": " ".join(config.predictions) or None,
            }
        )
        record.tags({DELTA_VERSION: source.version})
        with counted("mine: rows", count_rows(source.uri, source.version), scored):
            mined = mine(config, running)
        if label_confidence is not None:
            write_label_confidence(config, running, label_confidence)
            if not keep_predictions:
                delete_predictions(findings, run_id)
        warn(mined.warnings)
        result = {name: value for name, value in asdict(mined).items() if name not in LONG}
        print(json.dumps(result, indent=2), flush=True)
        page = show_findings(findings, run_id) if show else None
        record.metrics({name: value for name, value in result.items() if name.startswith("num_")})
        record.artifact("result.json", json.dumps(result, indent=2))
        if page is not None:
            record.artifact("findings.html", page.read_text("utf-8"))


if __name__ == "__main__":
    run(app)
