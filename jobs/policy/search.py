"""Which rule serves a table best: each is tried and measured on dev, and the best is written.

    v1 mined out of sample --rules--> a preview each --train--> dev --best--> next Delta version

A rule must beat leaving the rows alone, by a model of the same seed and by more than chance in
dev's rows explains. Test labels decide nothing: they are looked at once, for the rule that dev
chose, and over the whole test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cluster.data.rows import Source
from cluster.engine.base import Engine
from cluster.inference.evaluate import PredictedRows, RowKey, on_same_rows, predict_tests
from cluster.inference.predict import InferenceConfig
from cluster.interfaces import ModelTask
from cluster.io.folder import Folder
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.train import TrainRequest, train, train_all
from cluster.versions.policy import Rule, apply, decide, preview
from jobs.loop.resume import pin_version
from relabel_service.tables import delta

KEEP = "keep"  # the trial that changes nothing
NUM_RESAMPLES = 300
INTERVAL = (0.05, 0.95)  # quantiles of the resampled gain that are reported
MIN_SEGMENT_ROWS = 30  # a metric of fewer says nothing
NUM_HURT = 10  # segments reported, the worst hurt

Metrics = Mapping[str, float | str]  # and the rows that they are of, as Evaluation.to_dict
Segments = Mapping[str, Mapping[RowKey, str]]  # column -> row -> value


@dataclass(frozen=True)
class PolicySearchConfig:
    """What to try.

    source: a Delta table. selection: which findings to keep, enough for every rule.
    dev: what to choose on. test: labels that decide nothing. segments: groups of their rows to
    report on, `dev` or `test` -> column -> row -> value. disagreement: as in MineConfig.
    """

    source: Source
    out: str
    training: TrainConfig
    inference: InferenceConfig
    selection: Selection
    rules: Sequence[Rule]
    dev: Source
    test: Source | None = None
    segments: Mapping[str, Segments] = field(default_factory=dict)
    disagreement: str | None = None


@dataclass(frozen=True)
class Trial:
    """One rule: how many decisions it took, and how good the model of its rows is on dev.

    gain: of dev's headline metric over keep, with the 5% and 95% quantiles over resampled rows;
    on the rows that both models can be evaluated on.
    hurt: dev's segments whose headline metric fell most.
    """

    policy: str
    num_decisions: int
    dev: Metrics
    gain: tuple[float, float, float]
    hurt: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class PolicySearchResult:
    """What came of it. chosen: the best on dev of the rules whose gain's interval lies above 0;
    `keep` where there is none, and then no version is new.

    before, after: metrics of the whole test. gain, hurt: as Trial's, of the test.
    """

    trials: Sequence[Trial]
    chosen: str
    version_before: int
    version: int
    num_changed: int
    before: Metrics | None = None
    after: Metrics | None = None
    gain: tuple[float, float, float] | None = None
    hurt: Sequence[Mapping[str, Any]] = ()


def search(config: PolicySearchConfig, engine: Engine) -> PolicySearchResult:
    """Try every rule and write the best. Idempotent: continues, or returns the stored result."""
    folder = Folder(config.out)
    source = pin_version(folder, "started", config.source)
    assert source.version is not None
    findings_uri, run_id = _mine(engine, config, folder, source)
    findings = delta.read_run(findings_uri, run_id)
    decisions = {rule: decide(findings, rule) for rule in config.rules}
    rows = {KEEP: source} | {
        str(rule): preview(
            engine,
            source,
            decisions=decisions[rule],
            rule=rule,
            out=folder.address(f"previews/{rule}"),
        )
        for rule in config.rules
    }
    _train(engine, config, folder, rows)
    predicted = {name: _on_dev(engine, config, folder, name) for name in rows}
    keep, task = predicted[KEEP], model_task(source.task)
    trials = [Trial(KEEP, 0, keep.evaluation(task).to_dict(), (0.0, 0.0, 0.0))]
    trials += [
        _trial(config, rule, len(decisions[rule]), keep, predicted[str(rule)])
        for rule in config.rules
    ]
    best = chosen(trials)
    searched = PolicySearchResult(
        trials, best.policy, source.version, source.version, num_changed=0
    )
    for rule in config.rules:
        if str(rule) == best.policy:
            lineage_uri = folder.address("lineage")
            written = apply(source, findings_uri, run_id, rule, lineage_uri=lineage_uri)
            num_changed = len(written.decisions)
            searched = replace(searched, version=written.version, num_changed=num_changed)
    return (
        searched if config.test is None else _tested(engine, config, folder, config.test, searched)
    )


def chosen(trials: Sequence[Trial]) -> Trial:
    """The best of those that are surely better on dev than the first, which keeps the rows."""
    keep, *others = trials
    better = [trial for trial in others if trial.gain[1] > 0]
    return max(better, key=lambda trial: trial.gain[0], default=keep)


def gain(
    task: ModelTask, before: PredictedRows, after: PredictedRows
) -> tuple[float, float, float]:
    """Of the headline metric on the same rows, with quantiles over rows drawn again and again."""

    def headline(predicted: PredictedRows) -> float:
        return next(iter(predicted.metrics(task).values()))

    randomness = np.random.default_rng(0)
    gains = []
    for _ in range(NUM_RESAMPLES):
        indices = randomness.integers(len(before.ids), size=len(before.ids)).tolist()
        gains.append(headline(after.take(indices)) - headline(before.take(indices)))
    low, high = np.nanquantile(gains, INTERVAL).tolist()
    return headline(after) - headline(before), low, high


def hurt_most(
    task: ModelTask, segments: Segments, before: PredictedRows, after: PredictedRows
) -> list[dict[str, Any]]:
    """Segments of a test by the change of its headline metric, the worst first; those that fell."""
    changes: list[dict[str, Any]] = []
    for column, values in segments.items():
        groups: dict[str, list[int]] = {}
        for place, key in enumerate(before.keys):
            groups.setdefault(values.get(key, ""), []).append(place)
        for value, places in groups.items():
            if len(places) < MIN_SEGMENT_ROWS:
                continue
            was, now = (rows.take(places).metrics(task) for rows in (before, after))
            name = next(iter(was))
            where = {"column": column, "value": value, "num_rows": len(places)}
            changes.append({**where, "metric": name, "before": was[name], "after": now[name]})
    worse = [change for change in changes if change["after"] < change["before"]]
    return sorted(worse, key=lambda change: change["after"] - change["before"])[:NUM_HURT]


def _mine(
    engine: Engine, config: PolicySearchConfig, folder: Folder, source: Source
) -> tuple[str, str]:
    """Train by folds and keep the worst rows: the findings' table and run."""
    store_uri, run_id = folder.address("models/mined"), f"policy-{source.version}"
    train(source, config.training, store_uri, engine)
    mining = MineConfig(
        source=source,
        store_uri=store_uri,
        findings_uri=folder.address("findings"),
        quarantine_uri=folder.address("quarantine"),
        run_id=run_id,
        selection=config.selection,
        inference=config.inference,
        disagreement=config.disagreement,
    )
    mine(mining, engine)
    return mining.findings_uri, run_id


def _train(
    engine: Engine, config: PolicySearchConfig, folder: Folder, rows: Mapping[str, Source]
) -> None:
    """One model of every row of each source, fitted together; named as the trials are."""
    training = replace(config.training, num_folds=0)
    train_all(
        [
            TrainRequest(source, training, folder.address(f"models/{name}"))
            for name, source in rows.items()
        ],
        engine,
    )


def _on_dev(engine: Engine, config: PolicySearchConfig, folder: Folder, name: str) -> PredictedRows:
    """The predictions of a trial's model on dev."""
    tests = {"dev": config.dev}
    return predict_tests(folder.address(f"models/{name}"), tests, config.inference, engine)["dev"]


def _trial(
    config: PolicySearchConfig,
    rule: Rule,
    num_decisions: int,
    keep: PredictedRows,
    after: PredictedRows,
) -> Trial:
    task, pair = model_task(config.source.task), on_same_rows(keep, after)
    return Trial(
        policy=str(rule),
        num_decisions=num_decisions,
        dev=after.evaluation(task).to_dict(),
        gain=gain(task, *pair),
        hurt=hurt_most(task, config.segments.get("dev", {}), *pair),
    )


def _tested(
    engine: Engine,
    config: PolicySearchConfig,
    folder: Folder,
    test: Source,
    searched: PolicySearchResult,
) -> PolicySearchResult:
    """The same with the test's metrics, of the table as it is and of the rule chosen."""
    before, after = (
        predict_tests(folder.address(f"models/{name}"), {"test": test}, config.inference, engine)[
            "test"
        ]
        for name in (KEEP, searched.chosen)
    )
    task = model_task(test.task)
    pair = on_same_rows(before, after)
    return replace(
        searched,
        before=before.evaluation(task).to_dict(),
        after=after.evaluation(task).to_dict(),
        gain=gain(task, *pair),
        hurt=hurt_most(task, config.segments.get("test", {}), *pair),
    )
