"""Rounds of train, mine, serve, label and merge, and a report of what they brought.

    python -m jobs.loop --demo --out build/demo
    python -m jobs.loop --dataset data/train --id-column id --label-column label --out runs/a \\
        --rounds 3 --budget 10% --gold-column gold --dev data/dev.parquet --test data/test.parquet
    python -m jobs.loop … --labelers people        # waits for frontends to answer

With --labelers gold an example labeler answers from the gold column, wrongly at
--error-rate. A parquet data set is copied into a Delta table under --out first,
for only Delta has versions. Run again with the same --out, the loop goes on
where it was.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.data.rows import Source, latest
from cluster.engine.devices import Workers
from cluster.inference.predict import InferenceConfig
from cluster.io.folder import Folder
from cluster.mining.selection import Selection, parse_budget
from cluster.training.config import TrainConfig
from cluster.versions.merge import Consensus
from jobs.common import options
from jobs.common.progress import TerminalProgress
from jobs.common.session import ray_session, run
from jobs.loop import report
from jobs.loop.quality import Pace
from jobs.loop.rounds import LoopConfig, Rounds, gold_labels
from jobs.loop.stages import Stages
from relabel_service.client import Client
from relabel_service.errors import InvalidInput
from relabel_service.server import app as serve_app
from relabel_service.simulated_labeler import label_all

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DEMO = Path(__file__).parents[2] / "tests/data/text_classification/vader_tweets"
POLL_S = 5.0
REVIEWED_WEIGHT = 3.0


class Labelers(StrEnum):
    """Who answers."""

    GOLD = "gold"
    PEOPLE = "people"


@app.command()
def main(
    out: Annotated[str, typer.Option(help="folder of everything the loop writes")],
    demo: Annotated[bool, typer.Option("--demo", help="the data set that comes along")] = False,
    dataset: Annotated[str | None, typer.Option(help="parquet or Delta table of labels")] = None,
    task: options.TaskName = "text_classification",
    content_column: options.ContentColumns = None,
    label_column: options.LabelColumn = "label",
    id_column: options.IdColumn = None,
    gold_column: Annotated[
        str | None, typer.Option(help="true labels, to measure with and to answer from")
    ] = None,
    dev: Annotated[str | None, typer.Option(help="table to choose settings on")] = None,
    test: Annotated[str | None, typer.Option(help="table that the loop never touches")] = None,
    rounds: Annotated[int, typer.Option(help="times people are asked")] = 2,
    top: options.Top = None,
    budget: options.Budget = None,
    threshold: options.Threshold = None,
    model: options.Model = None,
    encoder: options.Encoder = None,
    audit: options.Audit = 0,
    feedback: options.UseFeedback = True,
    seconds_per_label: Annotated[float, typer.Option(help="of one labeler")] = 20.0,
    stop_below: Annotated[
        float, typer.Option(help="end when a labeler-minute would find fewer errors than this")
    ] = 0.0,
    folds: options.Folds = 5,
    train_every: Annotated[
        int, typer.Option(help="rounds for each training; between them answers alone re-rank")
    ] = 1,
    epochs: Annotated[int | None, typer.Option(help="the model's recipe when left out")] = None,
    reviewed_weight: Annotated[
        list[float] | None,
        typer.Option(
            help="times that a row counts in training which people have decided; again for more, "
            f"of which the best on DEV is taken; {REVIEWED_WEIGHT:g} when left out, 1 to count all "
            "alike"
        ),
    ] = None,
    label_confidence: Annotated[
        bool,
        typer.Option(help="count rows in training by how likely their labels are right"),
    ] = True,
    num_workers: options.NumWorkers = 1,
    use_gpu: options.UseGpu = False,
    cpus_per_gpu: options.CpusPerGpu = 1,
    labelers: Annotated[Labelers, typer.Option(help="who answers")] = Labelers.GOLD,
    error_rate: Annotated[float, typer.Option(help="share of wrong answers of gold labelers")] = 0,
    votes_required: Annotated[int, typer.Option(help="votes an item needs")] = 1,
    consensus: options.HowDecided = Consensus.MAJORITY,
    queue: Annotated[
        str | None,
        typer.Option(help="sqlite:///PATH or postgresql://…; a file in --out when left out"),
    ] = None,
    port: Annotated[int, typer.Option(help="gRPC port of the service")] = 9000,
    http_port: Annotated[int, typer.Option(help="HTTP port of the service (health)")] = 8000,
    seed: int = 0,
) -> None:
    """Run the loop; prints a table, writes OUT/report.json and OUT/report.html."""
    if demo:
        dataset, id_column, gold_column = str(DEMO / "train.parquet"), "id", "gold"
        dev, test = str(DEMO / "dev.parquet"), str(DEMO / "test.parquet")
        budget = budget or "20%"
    if dataset is None:
        raise InvalidInput.of("dataset", "is not given; name a table with --dataset, or --demo")
    if labelers is Labelers.GOLD and gold_column is None:
        raise InvalidInput.of(
            "gold_column", "is not given; gold labelers need it (or --labelers people)"
        )
    queue = queue or _queue_in(out)
    source = options.source_of(
        options.versioned(dataset, out),
        task=task,
        content_columns=content_column,
        label_column=label_column,
        id_column=id_column,
        version=None,
    )
    tests = {name: uri for name, uri in (("dev", dev), ("test", test)) if uri is not None}
    workers = Workers(num_workers, use_gpu, cpus_per_gpu)
    loop = LoopConfig(
        source=source,
        out=out,
        num_rounds=rounds,
        training=TrainConfig(
            model=model,
            num_folds=folds,
            epochs=epochs,
            workers=workers,
            seed=seed,
        ),
        selection=Selection(
            top=top, budget=parse_budget(budget) if budget else None, threshold=threshold
        ),
        inference=InferenceConfig(workers=workers),
        gold_column=gold_column,
        tests={name: _test(source, uri, gold_column) for name, uri in tests.items()},
        votes_required=votes_required,
        train_every=train_every,
        reviewed_weights=tuple(reviewed_weight or [REVIEWED_WEIGHT]),
        choose_on="dev" if dev is not None else None,
        consensus=consensus,
        encoder=encoder,
        num_audit=audit,
        feedback=feedback,
        label_confidence=label_confidence,
        pace=Pace(seconds_per_label, stop_below),
    )
    labeling = (
        _people
        if labelers is Labelers.PEOPLE
        else _gold(loop, f"127.0.0.1:{port}", error_rate=error_rate, seed=seed)
    )
    console = Console()
    with ray_session() as engine, TerminalProgress(console) as shown:
        progress = Stages(shown)
        with progress.step("start the service", None):
            serve_app.start(queue_url=queue, host="127.0.0.1", port=port, http_port=http_port)
            serve_app.wait_until_routed(f"127.0.0.1:{port}")
        with Client(f"127.0.0.1:{port}", labeler="loop") as client:
            steps = Rounds(loop, engine=engine, client=client, labeling=labeling, progress=progress)
            rounds_run, ceiling = list(steps.run()), steps.ceiling()
    folder = Folder(out)
    told = report.Report(rounds_run, ceiling, report.stages_so_far(folder, progress.done))
    console.print(report.table(told))
    folder.write("report.json", json.dumps(report.as_json(told), indent=2).encode())
    folder.write("report.html", report.html(told).encode())
    console.print(f"report: {folder.address('report.html')} (and report.json)", soft_wrap=True)


def _queue_in(out: str) -> str:
    if "://" in out:
        raise InvalidInput.of(
            "queue",
            f"cannot lie in {out!r}: an object store has no transactions; "
            "give --queue sqlite:///PATH or postgresql://…",
        )
    return f"sqlite:///{Folder(out).address('queue.db')}"


def _test(source: Source, uri: str, gold_column: str | None) -> Source:
    return latest(
        replace(source, uri=uri, version=None, label_column=gold_column or source.label_column)
    )


def _gold(
    loop: LoopConfig, address: str, *, error_rate: float, seed: int
) -> Callable[[Client, str, Callable[[int], None]], None]:
    assert loop.gold_column is not None
    gold = gold_labels(loop.source, loop.gold_column)

    def answer(client: Client, campaign: str, on_submitted: Callable[[int], None]) -> None:
        for number in range(loop.votes_required):
            with Client(address, labeler=f"gold-{number + 1}") as own:
                label_all(
                    own,
                    campaign,
                    gold,
                    error_rate=error_rate,
                    seed=seed + number,
                    on_submitted=on_submitted,
                )

    return answer


def _people(client: Client, campaign: str, on_submitted: Callable[[int], None]) -> None:
    """Wait for frontends to answer every item."""
    answered = 0
    while True:
        stats = client.stats(campaign)
        on_submitted(stats.num_results - answered)
        answered = stats.num_results
        if not stats.num_open and not stats.num_leased:
            return
        time.sleep(POLL_S)


if __name__ == "__main__":
    run(app)
