"""Which rule a table is best served by: each is tried, judged on dev, and the best one written.

    v1 mined out of sample --rules--> a preview each --train--> dev --best--> next Delta version

A rule must beat leaving the rows alone, by a model of the same seed and by more than chance in
dev's rows explains. Test labels decide nothing: they are looked at once, for the rule that dev
chose, and over the whole test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.data.rows import Source
from cluster.engine.base import Engine
from cluster.inference.evaluate import Answered, answer
from cluster.inference.predict import InferenceConfig
from cluster.interfaces import ModelTask
from cluster.io.folder import Folder
from cluster.mining.mine import MineConfig, mine
from cluster.mining.selection import Selection
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.train import train
from cluster.versions.policy import Rule, apply, decide, preview
from jobs.loop.resume import pin_version
from relabel_service.tables import delta

KEEP = "keep"  # the trial that changes nothing
NUM_RESAMPLES = 300
INTERVAL = (0.05, 0.95)  # quantiles of the resampled gain that are told
MIN_SEGMENT_ROWS = 30  # fewer tell nothing
NUM_HURT = 10  # segments told, the worst hurt

Metrics = Mapping[str, float]
Segments = Mapping[str, Mapping[str, str]]  # column -> id -> value


@dataclass(frozen=True)
class Search:
    """What to try.

    source: a Delta table. selection: which findings to keep, enough for every rule.
    dev: what to choose on. test: labels that decide nothing. segments: groups of their rows to
    tell apart, `dev` or `test` -> column -> id -> value. disagreement: as Mining's.
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

    gain: of dev's headline metric over keep, with the 5% and 95% quantiles over resampled rows.
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


def search(asked: Search, engine: Engine) -> PolicySearchResult:
    """Try every rule and write the best. Run again, it continues, or tells what it told."""
    folder = Folder(asked.out)
    source = pin_version(folder, "started", asked.source)
    assert source.version is not None
    findings_uri, run_id = _mine(engine, asked, folder, source)
    kept = _dev_answers(engine, asked, folder, KEEP, source)
    task = model_task(source.task)
    trials = [Trial(KEEP, 0, task.metrics(kept.answers, kept.labels), (0.0, 0.0, 0.0))]
    findings = delta.read_run(findings_uri, run_id)
    trials += [_try(engine, asked, folder, source, rule, findings, kept) for rule in asked.rules]
    best = chosen(trials)
    searched = PolicySearchResult(
        trials, best.policy, source.version, source.version, num_changed=0
    )
    for rule in asked.rules:
        if str(rule) == best.policy:
            lineage_uri = folder.address("lineage")
            written = apply(source, findings_uri, run_id, rule, lineage_uri=lineage_uri)
            num_changed = len(written.decisions)
            searched = replace(searched, version=written.version, num_changed=num_changed)
    return searched if asked.test is None else _tested(engine, asked, folder, asked.test, searched)


def chosen(trials: Sequence[Trial]) -> Trial:
    """The first, which keeps the rows, or the best of those that are surely better on dev."""
    keep, *others = trials
    surely = [one for one in others if one.gain[1] > 0]
    return max(surely, key=lambda one: one.gain[0], default=keep)


def gain(task: ModelTask, before: Answered, after: Answered) -> tuple[float, float, float]:
    """Of the headline metric on the same rows, with quantiles over rows drawn again and again."""

    def headline(told: Answered) -> float:
        return next(iter(task.metrics(told.answers, told.labels).values()))

    randomness = np.random.default_rng(0)
    gains = []
    for _ in range(NUM_RESAMPLES):
        places = randomness.integers(len(before.ids), size=len(before.ids)).tolist()
        gains.append(headline(after.take(places)) - headline(before.take(places)))
    low, high = np.nanquantile(gains, INTERVAL).tolist()
    return headline(after) - headline(before), low, high


def hurt_most(
    task: ModelTask, segments: Segments, before: Answered, after: Answered
) -> list[dict[str, Any]]:
    """Segments of a test by the change of its headline metric, the worst first; those that fell."""
    found: list[dict[str, Any]] = []
    for column, values in segments.items():
        groups: dict[str, list[int]] = {}
        for place, row_id in enumerate(before.ids):
            groups.setdefault(values.get(row_id, ""), []).append(place)
        for value, places in groups.items():
            if len(places) < MIN_SEGMENT_ROWS:
                continue
            was, now = (
                task.metrics(told.answers, told.labels)
                for told in (before.take(places), after.take(places))
            )
            name = next(iter(was))
            where = {"column": column, "value": value, "num_rows": len(places)}
            found.append({**where, "metric": name, "before": was[name], "after": now[name]})
    fell = [one for one in found if one["after"] < one["before"]]
    return sorted(fell, key=lambda one: one["after"] - one["before"])[:NUM_HURT]


def _mine(engine: Engine, asked: Search, folder: Folder, source: Source) -> tuple[str, str]:
    """Train by folds and keep the worst rows: the findings' table and run."""
    store_uri, run_id = folder.address("models/mined"), f"policy-{source.version}"
    train(source, asked.training, store_uri, engine)
    mining = MineConfig(
        source=source,
        store_uri=store_uri,
        findings_uri=folder.address("findings"),
        quarantine_uri=folder.address("quarantine"),
        run_id=run_id,
        selection=asked.selection,
        inference=asked.inference,
        disagreement=asked.disagreement,
    )
    mine(mining, engine)
    return mining.findings_uri, run_id


def _try(
    engine: Engine,
    asked: Search,
    folder: Folder,
    source: Source,
    rule: Rule,
    findings: pa.Table,
    kept: Answered,
) -> Trial:
    decisions = decide(findings, rule)
    rows = preview(engine, source, decisions, rule, folder.address(f"previews/{rule}"))
    after, task = _dev_answers(engine, asked, folder, str(rule), rows), model_task(source.task)
    return Trial(
        policy=str(rule),
        num_decisions=len(decisions),
        dev=task.metrics(after.answers, after.labels),
        gain=gain(task, kept, after),
        hurt=hurt_most(task, asked.segments.get("dev", {}), kept, after),
    )


def _dev_answers(
    engine: Engine, asked: Search, folder: Folder, name: str, source: Source
) -> Answered:
    """What the one model trained on every row of the source says of dev."""
    store_uri = folder.address(f"models/{name}")
    train(source, replace(asked.training, num_folds=0), store_uri, engine)
    return answer(store_uri, {"dev": asked.dev}, asked.inference, engine)["dev"]


def _tested(
    engine: Engine, asked: Search, folder: Folder, test: Source, searched: PolicySearchResult
) -> PolicySearchResult:
    """The same with the test's metrics, of the table as it is and of the rule chosen."""
    before, after = (
        answer(folder.address(f"models/{name}"), {"test": test}, asked.inference, engine)["test"]
        for name in (KEEP, searched.chosen)
    )
    task = model_task(test.task)
    return replace(
        searched,
        before=task.metrics(before.answers, before.labels),
        after=task.metrics(after.answers, after.labels),
        gain=gain(task, before, after),
        hurt=hurt_most(task, asked.segments.get("test", {}), before, after),
    )
