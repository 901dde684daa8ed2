"""Rounds of train, mine, serve, label and merge, and a report of what they brought.

    python -m jobs.loop --demo --out build/demo
    python -m jobs.loop --dataset data/train --id-column id --label-column label --out runs/a \\
        --rounds 3 --budget 10% --gold-column gold --dev data/dev.parquet --test data/test.parquet
    python -m jobs.loop … --labelers people        # waits for frontends to answer

With --labelers gold a simulated labeler answers from the gold column, wrongly at
--error-rate. A parquet data set is copied into a Delta table under --out first,
for only Delta has versions. Run again with the same --out, the loop goes on
where it was.
"""

import json
from functools import partial

import typer
from rich.console import Console

from cluster.io.folder import Folder
from jobs.common import options
from jobs.common.progress import progress_on
from jobs.common.session import EngineName, run, session, warn
from jobs.common.tracking import TrackOption, tracked
from jobs.loop import report
from jobs.loop.labelers import Labelers, simulated, wait_for_people
from jobs.loop.options import LabelingOptions, LoopOptions, ServiceOptions, loop_config, of_demo
from jobs.loop.report_items import decided_items
from jobs.loop.rounds import LabelCampaign, Rounds
from jobs.loop.service import serving
from jobs.loop.stages import Stages
from jobs.loop.tracking import record_loop, record_round
from relabel_service.cli import output

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@options.grouped
def main(
    loop: LoopOptions,
    columns: options.ColumnOptions,
    selection: options.SelectionOptions,
    training: options.TrainingOptions,
    engine: options.EngineOptions,
    labeling: LabelingOptions,
    service: ServiceOptions,
    track: TrackOption = None,
    as_json: output.Json = False,
) -> None:
    """Run the loop; prints a table, writes OUT/report.json and OUT/report.html."""
    if loop.demo:
        loop, columns, selection = of_demo(loop, columns, selection)
    queue_url = service.queue_url(loop.out)
    config = loop_config(loop, columns, selection, training, engine, labeling)
    label: LabelCampaign = wait_for_people
    if labeling.labelers is Labelers.GOLD:
        simulate = partial(simulated, error_rate=labeling.error_rate, seed=training.seed)
        label = simulate(config, service.address)
    console = Console(stderr=as_json)
    with tracked(track, "loop", loop.out) as record:
        record_loop(record, config)
        with (
            session(engine.engine, workers=engine.workers(), serves=True) as running,
            serving(
                service.address,
                queue_url=queue_url,
                http_port=service.http_port,
                on_ray=running.name == EngineName.RAY,
            ) as started,
            progress_on(console) as bars,
        ):
            progress = Stages(bars)
            rounds = Rounds(config, engine=running, service=started, label=label, progress=progress)
            results = [
                record_round(record, number, each) for number, each in enumerate(rounds.run(), 1)
            ]
            ceiling = rounds.ceiling()
        folder = Folder(loop.out)
        warn(
            dict.fromkeys(
                warning for turn in results if turn.mined for warning in turn.mined.warnings
            )
        )
        result = report.Report(results, ceiling, report.stages_so_far(folder, progress.stages))
        items = decided_items(folder, results, config.source)
        pages = {
            "report.json": json.dumps(report.as_json(result), indent=2),
            "report.html": report.html(result, items),
        }
        for name, text in pages.items():
            folder.write(name, text.encode())
            record.artifact(name, text)
    if as_json:
        print(json.dumps(report.as_json(result)))
        return
    console.print(report.table(result))
    for sentence in (*result.left_out, *result.about_labels):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {folder.address('report.html')} (and report.json)", soft_wrap=True)


if __name__ == "__main__":
    run(app)
