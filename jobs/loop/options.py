"""The loop's own command-line options, and the LoopConfig that all options make."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from cluster.inference.predict import InferenceConfig
from cluster.io.folder import Folder
from cluster.versions.merge import Consensus
from jobs.common import options
from jobs.loop.config import LoopConfig
from jobs.loop.labelers import Labelers
from jobs.loop.quality import StopRule
from relabel_service.errors import InvalidInput

DEMO = Path(__file__).parents[2] / "tests/data/text_classification/vader_tweets"
REVIEWED_WEIGHT = 3.0


@dataclass(frozen=True)
class LoopOptions:
    """The data, the rounds, and how a round trains and mines."""

    out: Annotated[str, typer.Option(help="folder of everything the loop writes")]
    dataset: Annotated[str | None, typer.Option(help="parquet or Delta table of labels")] = None
    demo: Annotated[bool, typer.Option("--demo", help="the data set that comes along")] = False
    gold_column: Annotated[
        str | None, typer.Option(help="true labels, to measure with and to answer from")
    ] = None
    dev: Annotated[str | None, typer.Option(help="table to choose settings on")] = None
    test: Annotated[str | None, typer.Option(help="table that the loop never touches")] = None
    rounds: Annotated[int, typer.Option(help="times people are asked")] = 2
    train_every: Annotated[
        int, typer.Option(help="rounds for each training; between them answers alone re-rank")
    ] = 1
    encoder: options.Encoder = None
    audit: options.Audit = 0
    feedback: options.UseFeedback = True
    each_copy: options.EachCopy = False
    reviewed_weight: Annotated[
        list[float] | None,
        typer.Option(
            help="weight in training of rows that people have decided; again for more, of which "
            f"the best on DEV is taken; {REVIEWED_WEIGHT:g} when left out, 1: as any other row"
        ),
    ] = None
    label_confidence: Annotated[
        bool, typer.Option(help="weigh rows in training by P(label is correct)")
    ] = True
    seconds_per_label: Annotated[
        float, typer.Option(help="of one labeler, where results do not say")
    ] = 20.0
    stop_below: Annotated[
        float, typer.Option(help="end when a labeler-minute would find fewer errors than this")
    ] = 0.0


@dataclass(frozen=True)
class LabelingOptions:
    """Who labels, and how votes become decisions."""

    labelers: Annotated[Labelers, typer.Option(help="who answers")] = Labelers.GOLD
    error_rate: Annotated[float, typer.Option(help="share of wrong answers of gold labelers")] = 0
    votes_required: Annotated[int, typer.Option(help="votes an item needs")] = 1
    consensus: options.ConsensusMethod = Consensus.MAJORITY


@dataclass(frozen=True)
class ServiceOptions:
    """Where the service of the loop listens, and its queue."""

    queue: Annotated[
        str | None,
        typer.Option(help="sqlite:///PATH or postgresql://…; a file in --out when left out"),
    ] = None
    port: Annotated[int, typer.Option(help="gRPC port of the service")] = 9000
    http_port: Annotated[int, typer.Option(help="HTTP port of the service (health)")] = 8000

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def queue_url(self, out: str) -> str:
        """Raises InvalidInput when it is not given and cannot lie in `out`."""
        if self.queue:
            return self.queue
        if "://" in out:
            raise InvalidInput.of(
                "queue",
                f"cannot lie in {out!r}: an object store has no transactions; "
                "give --queue sqlite:///PATH or postgresql://…",
            )
        return f"sqlite:///{Folder(out).address('queue.db')}"


def of_demo(
    loop: LoopOptions, columns: options.ColumnOptions, selection: options.SelectionOptions
) -> tuple[LoopOptions, options.ColumnOptions, options.SelectionOptions]:
    """The same options with the data set that comes along."""
    files = {name: str(DEMO / f"{name}.parquet") for name in ("train", "dev", "test")}
    loop = replace(
        loop,
        dataset=files["train"],
        dev=files["dev"],
        test=files["test"],
        gold_column="gold",
    )
    selection = replace(selection, budget=selection.budget or "20%")
    return loop, replace(columns, id_column="id"), selection


def loop_config(
    loop: LoopOptions,
    columns: options.ColumnOptions,
    selection: options.SelectionOptions,
    training: options.TrainingOptions,
    engine: options.EngineOptions,
    labeling: LabelingOptions,
) -> LoopConfig:
    """What the options ask for; a parquet data set is copied to a Delta table in --out.

    Raises InvalidInput when there is nothing to run on, or nobody to answer.
    """
    if loop.dataset is None:
        raise InvalidInput.of("dataset", "is not given; name a table with --dataset, or --demo")
    if labeling.labelers is Labelers.GOLD and loop.gold_column is None:
        raise InvalidInput.of(
            "gold_column", "is not given; gold labelers need it (or --labelers people)"
        )
    source = columns.source(options.versioned(loop.dataset, loop.out), copied_from=loop.dataset)
    options.with_labels(source, loop.gold_column)  # refuses a table without it
    return LoopConfig(
        source=source,
        out=loop.out,
        num_rounds=loop.rounds,
        training=training.config(engine.workers()),
        selection=selection.selection(),
        inference=InferenceConfig(workers=engine.workers()),
        gold_column=loop.gold_column,
        tests={
            name: options.with_labels(replace(source, uri=uri, version=None), loop.gold_column)
            for name, uri in (("dev", loop.dev), ("test", loop.test))
            if uri is not None
        },
        votes_required=labeling.votes_required,
        train_every=loop.train_every,
        reviewed_weights=tuple(loop.reviewed_weight or [REVIEWED_WEIGHT]),
        choose_on="dev" if loop.dev is not None else None,
        consensus=labeling.consensus,
        encoder=loop.encoder,
        num_audit=loop.audit,
        feedback=loop.feedback,
        each_copy=loop.each_copy,
        label_confidence=loop.label_confidence,
        stop_rule=StopRule(loop.seconds_per_label, loop.stop_below),
    )
