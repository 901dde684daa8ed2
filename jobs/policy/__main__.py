"""Let a rule decide where people cannot, as with clicks: set, drop or weight the worst rows.

    python -m jobs.policy --task click_through_rate --dataset data/train --content-column age \\
        --content-column device --id-column id --out policies/1 --budget 1% --budget 5% \\
        --dev data/dev.parquet --test data/test.parquet --segment-column device

Tries each action at each budget, chooses on dev, and writes the table's next Delta version.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import typer

from cluster.data.rows import Source, check
from cluster.inference.evaluate import RowKey
from cluster.inference.predict import InferenceConfig
from cluster.io.tables import count_rows, read_table
from cluster.mining.selection import Selection, parse_budget
from cluster.versions.plan import Action
from cluster.versions.policy import Rule
from cluster.versions.write import require_versions
from jobs.common import options
from jobs.common.session import run, session, warn
from jobs.policy.search import PolicySearchConfig, search
from relabel_service.tables.fingerprint import content_fingerprint

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BUDGETS = ("1%", "2%", "5%")
MAX_NAMED = 3  # rows that a warning names


@dataclass(frozen=True)
class PolicyColumnOptions(options.ColumnOptions):
    """As other jobs have them, for the task that people do not label."""

    task: options.TaskName = "click_through_rate"


@app.command()
@options.grouped
def main(
    columns: PolicyColumnOptions,
    training: options.TrainingOptions,
    engine: options.EngineOptions,
    dataset: options.DeltaDataset,
    out: Annotated[str, typer.Option(help="folder of the search: local path or URL")],
    dev: Annotated[str, typer.Option(help="table to choose the rule on")],
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
        float | None,
        typer.Option(help="weight in training of weighted rows; 1 - suspicion if left out"),
    ] = None,
    disagreement: options.Disagreement = None,
    test: Annotated[str | None, typer.Option(help="table read once, for the report")] = None,
    gold_column: Annotated[str, typer.Option(help="column of the true label in TEST")] = "gold",
    segment_column: Annotated[
        list[str] | None,
        typer.Option(help="column of DEV and TEST: its values where the rule hurts are reported"),
    ] = None,
) -> None:
    """Search; prints JSON."""
    workers = engine.workers()
    source = columns.source(dataset, weight_column=weight_column)
    require_versions(source)
    tests = {"dev": _test(source, dev)}
    if test is not None:
        tests["test"] = _test(source, test, gold_column=gold_column)
    num_rows = count_rows(source.uri, source.version)
    shares = [parse_budget(share) for share in budget or ([] if threshold else BUDGETS)]
    limits = [(Selection(budget=share).limit(num_rows), 0.0) for share in shares]
    limits += [(None, least) for least in threshold or []]
    rules = [
        Rule(kind, least=least, top=top, weight=weight if kind is Action.WEIGHT else None)
        for kind in action or list(Action)
        for top, least in limits
    ]
    widest = Selection(threshold=min(threshold)) if threshold else Selection(budget=max(shares))
    config = PolicySearchConfig(
        source=source,
        out=out,
        training=training.config(workers),
        inference=InferenceConfig(workers=workers),
        selection=widest,
        rules=list(dict.fromkeys(rules)),
        dev=tests["dev"],
        test=tests.get("test"),
        disagreement=disagreement,
        segments={name: segments_of(table, segment_column or []) for name, table in tests.items()},
    )
    with session(engine.engine, workers=workers) as running:
        result = search(config, running)
    print(json.dumps(asdict(result), indent=2))


def _test(source: Source, uri: str, *, gold_column: str | None = None) -> Source:
    """A table with the source's columns, but no weights and perhaps another label. Pinned."""
    return options.with_labels(
        replace(source, uri=uri, version=None, weight_column=None), gold_column
    )


def segments_of(test: Source, columns: Sequence[str]) -> dict[str, dict[RowKey, str]]:
    """Segment column -> row -> its value there; without the rows that differ in nothing else."""
    if not columns:
        return {}
    names = list(dict.fromkeys([*test.columns, *columns]))
    found: dict[str, dict[RowKey, set[str]]] = {column: {} for column in columns}
    for batch in read_table(test.uri, names, version=test.version):
        valid = check(batch, source=test).select(["id", "content"])
        for place, row in enumerate(valid.to_pylist()):
            if row["content"] is not None:
                key = row["id"], content_fingerprint(row["content"])
                for column in columns:
                    value = str(batch[column][place].as_py())
                    found[column].setdefault(key, set()).add(value)
    for column, values in found.items():
        if several := sorted(row_id for (row_id, _), held in values.items() if len(held) > 1):
            warn(
                [
                    f"{len(several)} rows of {test.uri!r} share id and content and differ in "
                    f"{column!r}: {', '.join(map(repr, several[:MAX_NAMED]))}; they are in none of "
                    "its segments"
                ]
            )
    return {
        column: {key: held.pop() for key, held in values.items() if len(held) == 1}
        for column, values in found.items()
    }


if __name__ == "__main__":
    run(app)
