"""Self-refine: labels outside the model's own top K are reset or dropped, round by round.

    python -m jobs.self_refine --dataset data/train --text-column text --id-column id \\
        --out refined --action set --top-k 1 --rounds 4 \\
        --dev data/dev.parquet --test data/test.parquet --gold-column gold

The model marks its own work, so what it says of labels it has changed rises whether or
not they got better. The report therefore puts side by side, for every round, agreement
with the labels so refined and accuracy on labels that the loop never touched.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cluster.data.rows import Source
from cluster.engine.base import Engine
from cluster.inference.evaluate import Coverage, evaluate
from cluster.inference.predict import InferenceConfig, Sampling
from cluster.io.folder import Folder
from cluster.io.tables import column_names
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.model_store import Manifest
from cluster.training.train import train
from cluster.versions.plan import Action
from cluster.versions.policy import Rule, apply
from jobs.common import options
from jobs.common.session import run, session
from jobs.loop.gold import gold_labels
from jobs.loop.resume import pin_version
from relabel_service.cli import output
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

REFINING = (Action.SET, Action.DROP)


@dataclass(frozen=True)
class SelfRefineConfig:
    """What to run. source: a Delta table, in which each round makes a version.

    dev: labels as they came, with the errors that people make; refined_dev in a Round needs
    no table. test: true labels. gold_column: of the source, for counting alone.
    """

    source: Source
    out: str
    num_rounds: int
    rule: Rule
    training: TrainConfig
    inference: InferenceConfig
    tests: dict[str, Source]
    gold_column: str | None = None


@dataclass(frozen=True)
class Round:
    """One version: how its model does, and what the rule then changed.

    refined: the task's headline metric of predictions on held-out folds against the
    version's own labels, which earlier rounds have changed. metrics: test -> headline
    metric, on labels never touched; coverage: how many rows of each test that is of.
    num_wrong: labels in the version that are not gold.
    """

    version: int
    num_rows: int
    refined: float
    metrics: dict[str, float]
    num_changed: int
    num_wrong: int | None = None
    coverage: dict[str, Coverage] = field(default_factory=dict)


def refine(config: SelfRefineConfig, engine: Engine) -> Iterator[Round]:
    """Each round as it ends. Idempotent: run again, it yields the stored rounds, and continues."""
    folder = Folder(config.out)
    for number in range(1, config.num_rounds + 2):
        last = number > config.num_rounds
        yield _round(engine, config, folder, number, last=last)


def _round(
    engine: Engine, config: SelfRefineConfig, folder: Folder, number: int, *, last: bool
) -> Round:
    """The last round measures and changes nothing."""
    source, run_id = pin_version(folder, f"rounds/{number}", config.source), f"round-{number}"
    store_uri, findings_uri = folder.address(f"models/v{number}"), folder.address("findings")
    manifest = train(source, config.training, store_uri, engine)
    measured = evaluate(store_uri, config.tests, config.inference, engine)
    mine(
        MineConfig(
            source=source,
            store_uri=store_uri,
            findings_uri=findings_uri,
            quarantine_uri=folder.address("quarantine"),
            run_id=run_id,
            selection=Selection(threshold=0.0),
            inference=config.inference,
        ),
        engine,
    )
    num_changed = 0
    if not last:
        lineage_uri = folder.address("lineage")
        written = apply(source, findings_uri, run_id, config.rule, lineage_uri=lineage_uri)
        num_changed = len(written.decisions)
    assert source.version is not None
    return Round(
        version=source.version,
        num_rows=manifest.num_rows,
        refined=_agreement(manifest, findings_uri, run_id),
        metrics={name: next(iter(one.metrics.values())) for name, one in measured.items()},
        num_changed=num_changed,
        num_wrong=_num_wrong(source, config.gold_column),
        coverage={name: one.coverage for name, one in measured.items()},
    )


def _agreement(manifest: Manifest, findings_uri: str, run_id: str) -> float:
    """The headline metric of the best suggestions against the labels they are about."""
    found = delta.read_run(findings_uri, run_id, columns=["human_label", "suggestions", "rank"])
    answers = [row[0]["label"] for row in found["suggestions"].to_pylist()]
    task, labels = model_task(manifest.source.task), found["human_label"].to_pylist()
    metrics = task.metrics(answers, labels, tokenize=manifest.tokenize)
    return next(iter(metrics.values()))


def _num_wrong(source: Source, gold_column: str | None) -> int | None:
    if gold_column is None:
        return None
    truth = gold_labels(source, gold_column)
    given = gold_labels(source, source.label_column)
    return sum(truth.get(name, label) != label for name, label in given.items())


def table(rounds: list[Round]) -> Table:
    """One row a version: what the loop made of its own labels beside what is true."""
    tests = list(rounds[0].metrics)
    headings = ("version", "rows", "changed", "wrong", "refined labels", *tests)
    shown = output.table(headings, title="Self-refine", right=True)
    for one in rounds:
        shown.add_row(
            str(one.version),
            str(one.num_rows),
            str(one.num_changed),
            "" if one.num_wrong is None else str(one.num_wrong),
            f"{one.refined:.1%}",
            *(f"{one.metrics[name]:.1%}{one.coverage[name].note()}" for name in tests),
        )
    return shown


@app.command()
@options.grouped
def main(
    columns: options.ColumnOptions,
    training: options.TrainingOptions,
    engine: options.EngineOptions,
    dataset: options.Dataset,
    out: Annotated[str, typer.Option(help="folder of the rounds: local path or URL")],
    action: Annotated[
        Action, typer.Option(help="set: to the model's best class; drop: the row")
    ] = Action.SET,
    top_k: Annotated[int, typer.Option(help="classes a label must be among to stay")] = 1,
    rounds: Annotated[int, typer.Option(help="versions to make")] = 3,
    dev: Annotated[
        str | None, typer.Option(help="table with labels of the dataset's own quality")
    ] = None,
    test: Annotated[str | None, typer.Option(help="table with true labels, never touched")] = None,
    gold_column: Annotated[
        str | None, typer.Option(help="column of true labels in TEST, and DATASET if it has one")
    ] = None,
    sampling: options.SamplingOption = Sampling.OUT_OF_SAMPLE,
) -> None:
    """Refine; prints a table to stderr and JSON to stdout."""
    if action not in REFINING:
        names = ", ".join(allowed.value for allowed in REFINING)
        raise InvalidInput.of("action", f"{action.value!r} refines no label; use one of {names}")
    workers = engine.workers()
    source = columns.source(options.versioned(dataset, out), copied_from=dataset)
    gold_columns = {"dev": None, "gold": gold_column}
    config = SelfRefineConfig(
        source=replace(source, version=None),
        out=out,
        num_rounds=rounds,
        rule=Rule(action, outside_top=top_k),
        training=training.config(workers),
        inference=InferenceConfig(sampling, workers=workers),
        tests={
            name: options.with_labels(replace(source, uri=uri, version=None), gold_columns[name])
            for name, uri in (("dev", dev), ("gold", test))
            if uri is not None
        },
        gold_column=_present(source, gold_column),
    )
    with session(engine.engine, workers=workers) as running:
        results = list(refine(config, running))
    Console(stderr=True).print(table(results))
    print(json.dumps([asdict(result) for result in results], indent=2))


def _present(source: Source, column: str | None) -> str | None:
    return column if column in column_names(source.uri, source.version) else None


if __name__ == "__main__":
    run(app)
