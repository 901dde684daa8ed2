"""Let a rule decide where people cannot, as with clicks: set, drop or weight the worst rows.

    python -m jobs.policy --task click_through_rate --dataset data/train --content-column age \\
        --content-column device --id-column id --out policies/1 --budget 1% --budget 5% \\
        --dev data/dev.parquet --test data/test.parquet --segment-column device

Tries each action at each budget, chooses on dev, and writes the table's next Delta version.
"""

import json
from dataclasses import asdict, replace
from typing import Annotated

import pyarrow.dataset as pads
import typer

from cluster.data.rows import Source, check, latest
from cluster.engine.devices import Workers
from cluster.inference.predict import InferenceConfig
from cluster.mining.selection import Selection, parse_budget
from cluster.training.config import TrainConfig
from cluster.versions.policy import Rule
from cluster.versions.write import Action, require_versions
from jobs.common import options
from jobs.common.session import ray_session, run
from jobs.policy.search import Search, search
from relabel_service.tables import delta

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BUDGETS = ("1%", "2%", "5%")


@app.command()
def main(
    dataset: options.Dataset,
    out: Annotated[str, typer.Option(help="folder of the search: local path or URL")],
    dev: Annotated[str, typer.Option(help="table to choose the rule on")],
    task: options.TaskName = "click_through_rate",
    content_column: options.ContentColumns = None,
    label_column: options.LabelColumn = "label",
    id_column: options.IdColumn = None,
    weight_column: options.WeightColumn = None,
    action: Annotated[
        list[Action] | None, typer.Option(help="again for more; all when left out")
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(help=f"share of the rows; again for more; {', '.join(BUDGETS)} if left out"),
    ] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="least suspicion, in [0, 1]; instead of budgets")
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="what a weighted row counts; 1 - suspicion if left out")
    ] = None,
    disagreement: options.Disagreement = None,
    test: Annotated[str | None, typer.Option(help="table looked at once, for the report")] = None,
    gold_column: Annotated[str, typer.Option(help="column of the true label in TEST")] = "gold",
    segment_column: Annotated[
        list[str] | None,
        typer.Option(help="column of DEV and TEST to tell by where the rule hurts"),
    ] = None,
    model: options.Model = None,
    folds: options.Folds = 5,
    epochs: Annotated[int | None, typer.Option(help="the model's recipe when left out")] = None,
    num_workers: options.NumWorkers = 1,
    use_gpu: options.UseGpu = False,
    cpus_per_gpu: options.CpusPerGpu = 1,
    seed: int = 0,
) -> None:
    """Search; prints JSON."""
    source = options.source_of(
        dataset,
        task=task,
        content_columns=content_column,
        label_column=label_column,
        id_column=id_column,
        version=None,
        weight_column=weight_column,
    )
    require_versions(source)
    tests = {"dev": _other(source, dev, label_column=label_column)}
    if test is not None:
        tests["test"] = _other(source, test, label_column=gold_column)
    num_rows = delta.open_table(source.uri, source.version).count()
    shares = [parse_budget(one) for one in budget or ([] if threshold else BUDGETS)]
    limits = [(Selection(budget=share).limit(num_rows), 0.0) for share in shares]
    limits += [(None, least) for least in threshold or []]
    workers = Workers(num_workers, use_gpu, cpus_per_gpu)
    asked = Search(
        source=source,
        out=out,
        training=TrainConfig(
            model=model,
            num_folds=folds,
            epochs=epochs,
            workers=workers,
            seed=seed,
        ),
        inference=InferenceConfig(workers=workers),
        selection=Selection(threshold=min(threshold))
        if threshold
        else Selection(budget=max(shares)),
        rules=list(
            dict.fromkeys(
                Rule(one, least=least, top=top, weight=weight if one is Action.WEIGHT else None)
                for one in action or list(Action)
                for top, least in limits
            )
        ),
        dev=tests["dev"],
        test=tests.get("test"),
        disagreement=disagreement,
        segments={name: _segments(one, segment_column or []) for name, one in tests.items()},
    )
    with ray_session() as engine:
        searched = search(asked, engine)
    print(json.dumps(asdict(searched), indent=2))


def _other(source: Source, uri: str, *, label_column: str) -> Source:
    """A table with the source's columns, but no weights and perhaps another label. Pinned."""
    return latest(
        replace(source, uri=uri, version=None, label_column=label_column, weight_column=None)
    )


def _segments(test: Source, columns: list[str]) -> dict[str, dict[str, str]]:
    """Segment column -> row id -> its value there."""
    if not columns:
        return {}
    names = list(dict.fromkeys([*test.columns, *columns]))
    table = (
        delta.open_table(test.uri, test.version).to_pyarrow_table(columns=names)
        if test.is_delta
        else pads.dataset(test.uri).to_table(columns=names)
    )
    ids = check(table, source=test)["id"].to_pylist()
    return {
        column: {
            row_id: str(value) for row_id, value in zip(ids, table[column].to_pylist(), strict=True)
        }
        for column in columns
    }


if __name__ == "__main__":
    run(app)
