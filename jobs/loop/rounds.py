"""The loop itself: rounds of train, mine, serve, label, merge on one Delta table.

Each step may be repeated: it continues or tells what it told, so a loop that was
stopped goes on where it was. What a round starts from is kept in a file, lest a
repetition take the version that the round itself has made.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from cluster.data.rows import Source, check
from cluster.engine.base import Engine
from cluster.inference.evaluate import evaluate
from cluster.inference.predict import InferenceConfig
from cluster.io.folder import Folder
from cluster.mining.config import MineConfig, MineResult
from cluster.mining.feedback_data import learn_from_lineage
from cluster.mining.label_confidence import write_label_confidence
from cluster.mining.mine import delete_predictions, mine
from cluster.mining.selection import Selection
from cluster.scores.feedback import Feedback
from cluster.training.config import TrainConfig
from cluster.training.train import train
from cluster.versions.merge import Consensus, MergeConfig, MergeResult, decide, merge
from jobs.loop.quality import Answered, Pace, Quality, quality
from jobs.loop.resume import pin_version
from jobs.loop.stages import Progress
from relabel_service.client import Client
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import delta
from relabel_service.tables.lineage import decided_keys
from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task
from relabel_service.v1.campaigns_pb2 import (
    CAMPAIGN_STATE_FINALIZED,
    CAMPAIGN_STATE_FINALIZING,
    Audit,
)

Parts = frozenset[tuple[str, str]]  # id and unit

Labeling = Callable[[Client, str, Callable[[int], None]], None]
"""Whoever answers a campaign (client, campaign, called with each number of answers): returns
when no item is left to be answered."""


@dataclass(frozen=True)
class LoopConfig:
    """What to run.

    source: a Delta table; its label column is what the rounds change.
    gold_column: true labels in the same table, for measuring alone; None when unknown.
    tests: name -> data set with true labels in its label column, never trained on.
    train_every: rounds for each training; in those between, what nobody was asked about is ranked
    anew by the answers alone.
    decided_weights: Training.decided_weight, from the second version on; of several, the one
    whose model is best on the test named `choose_on`, by the task's first metric.
    encoder, num_audit: for mining, as Mining has them; audited rows are asked about with the
    findings, and nothing sets them apart.
    feedback: whether answers so far have a say in the ranking.
    doubts: whether from the second version on rows count in training by how likely their labels
    are right, by the round before; those that people have decided count in full.
    pace: when to end before num_rounds.
    """

    source: Source
    out: str
    num_rounds: int
    training: TrainConfig
    selection: Selection
    inference: InferenceConfig
    gold_column: str | None
    tests: Mapping[str, Source]
    votes_required: int = 1
    train_every: int = 1
    reviewed_weights: tuple[float, ...] = (1.0,)
    choose_on: str | None = None
    consensus: Consensus = Consensus.MAJORITY
    encoder: str | None = None
    num_audit: int = 0
    feedback: bool = True
    label_confidence: bool = True
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if self.train_every < 1:
            raise InvalidInput.of("train_every", f"{self.train_every} rounds; give 1 or more")
        if len(self.reviewed_weights) > 1 and self.choose_on not in self.tests:
            raise InvalidInput.of(
                "reviewed_weight",
                f"has {len(self.reviewed_weights)} values and no table to choose on; name one with "
                "--dev, or give one value",
            )


@dataclass(frozen=True)
class Round:
    """One version: how good its model is, and what was found and mended in it.

    version: v1 for the data as it came. metrics: test name -> metric -> value; none where no
    model was trained on the version.
    num_wrong: wrong labels, or wrong parts of labels where the task goes class by class.
    precision: share of what was leased that was truly wrong; recall: share of what is
    wrong that was leased; all None where gold is not known. quality: what the answers say.
    decided_weight: what its training counted decided rows by; None where it had none.
    """

    version: str
    delta_version: int
    metrics: Mapping[str, Mapping[str, float]]
    num_wrong: int | None = None
    mined: MineResult | None = None
    merged: MergeResult | None = None
    num_leased: int | None = None
    precision: float | None = None
    recall: float | None = None
    quality: Quality | None = None
    reviewed_weight: float | None = 1.0


class Rounds:
    """Runs a Loop against a service."""

    def __init__(
        self,
        loop: LoopConfig,
        *,
        engine: Engine,
        client: Client,
        labeling: Labeling,
        progress: Progress,
    ) -> None:
        self._loop, self._engine, self._client = loop, engine, client
        self._labeling, self._progress = labeling, progress
        self._folder = Folder(loop.out)

    def run(self) -> Iterator[Round]:
        """Each version's round as it ends; the last version is only trained and measured."""
        for number in range(1, self._loop.num_rounds + 1):
            done = self._round(number)
            yield done
            if done.quality is not None and not done.quality.num_worth_asking:
                break
        yield self._last(number + 1)

    def ceiling(self) -> Mapping[str, Mapping[str, float]] | None:
        """Metrics of a model trained on all gold labels; None where gold is not known."""
        if self._loop.gold_column is None:
            return None
        source = replace(self._started_from(1), label_column=self._loop.gold_column)
        training = replace(self._loop.training, num_folds=0, reviewed_weight=1.0)
        return self._measure(source, "ceiling", training)

    def _round(self, number: int) -> Round:
        loop = self._loop
        source, training = self._started_from(number), None
        metrics: Mapping[str, Mapping[str, float]] = {}
        if number == self._trained(number):
            training = self._training(source, number)
            metrics = self._measure(source, f"v{number}", training)
            self._forget_before(number)
        with self._progress.step(f"v{number} mine", None):
            mined = mine(self.mining(number), self._engine)
        campaign = self._label(number, mined)
        with self._progress.step(f"v{number} merge", None):
            done = self._client.finalize(campaign, results_uri=self._at("results"))
            merging = MergeConfig(
                replace(source, version=None),
                done.results_uri,
                f"round-{number}",
                self._lineage,
                consensus=loop.consensus,
            )
            merged = merge(merging)
            results = delta.read_where(done.results_uri, {"campaign": f"round-{number}"})
            decisions, _ = decide(results, loop.consensus)
            now = self.mining(number)
            if not loop.feedback:  # answers that do not rank still tell what is left
                now = replace(now, feedback=learn_from_lineage(self._lineage))
            unasked = write_label_confidence(now, self._engine, self._label_confidence(number + 1))
            told = quality(mined, unasked, Answered.of(results, decisions), loop.pace)
        leased = delta.read_run(self._at("findings"), mined.run_id, columns=["id", "unit", "rank"])
        asked = frozenset(zip(leased["id"].to_pylist(), leased["unit"].to_pylist(), strict=True))
        wrong = self._wrong_parts(source)
        return Round(
            version=f"v{number}",
            delta_version=source.version or 0,
            metrics=metrics,
            num_wrong=None if wrong is None else len(wrong),
            mined=mined,
            merged=merged,
            num_leased=leased.num_rows,
            precision=_share(asked, wrong),
            recall=None if wrong is None else _share(wrong, asked),
            quality=told,
            reviewed_weight=training.reviewed_weight if training else None,
        )

    def _last(self, number: int) -> Round:
        source = self._started_from(number)
        training = replace(self._training(source, number), num_folds=0)
        metrics = self._measure(source, f"v{number}", training)
        self._forget_before(number)
        wrong = self._wrong_parts(source)
        return Round(
            version=f"v{number}",
            delta_version=source.version or 0,
            metrics=metrics,
            num_wrong=None if wrong is None else len(wrong),
            reviewed_weight=training.reviewed_weight,
        )

    def _started_from(self, number: int) -> Source:
        """The source at the version that round `number` starts from, now and when repeated."""
        return pin_version(self._folder, f"rounds/{number}", self._loop.source)

    def _training(self, source: Source, number: int) -> TrainConfig:
        """Of the version's round, with the weight of what people decided in those before."""
        training = replace(self._loop.training, lineage_uri=self._lineage, reviewed_weight=1.0)
        if number == 1:
            return training  # nobody has decided anything
        if self._loop.label_confidence:
            training = replace(training, label_confidence_uri=self._label_confidence(number))
        tried = [replace(training, reviewed_weight=one) for one in self._loop.reviewed_weights]
        if len(tried) == 1:
            return tried[0]
        with self._progress.step(f"v{number} weigh", len(tried)) as advance:
            return max(tried, key=lambda one: self._headline(source, number, one, advance))

    def _headline(
        self, source: Source, number: int, training: TrainConfig, advance: Callable[[int], None]
    ) -> float:
        assert self._loop.choose_on is not None
        store_uri = self._at(f"models/v{number}-weigh-{training.reviewed_weight:g}")
        train(source, replace(training, num_folds=0), store_uri, self._engine)
        dev = {self._loop.choose_on: self._loop.tests[self._loop.choose_on]}
        advance(1)
        told = evaluate(store_uri, dev, self._loop.inference, self._engine)[self._loop.choose_on]
        return next(iter(told.values()))

    def _measure(
        self, source: Source, name: str, training: TrainConfig
    ) -> Mapping[str, Mapping[str, float]]:
        store_uri = self._at(f"models/{name}")
        with self._progress.step(f"{name} train", None):
            train(source, training, store_uri, self._engine)
        with self._progress.step(f"{name} measure", None):
            return evaluate(store_uri, self._loop.tests, self._loop.inference, self._engine)

    def mining(self, number: int) -> MineConfig:
        """How a round mines, by what people have decided so far.

        Between trainings it is the version trained on that is mined, without those rows: its
        judgements hold, and what training watched is about its labels.
        """
        loop, trained = self._loop, self._trained(number)
        return MineConfig(
            source=self._started_from(trained),
            store_uri=self._at(f"models/v{trained}"),
            findings_uri=self._at("findings"),
            quarantine_uri=self._at("quarantine"),
            run_id=f"round-{number}",
            selection=loop.selection,
            inference=loop.inference,
            decided=decided_keys(self._lineage),
            encoder=loop.encoder,
            num_audit=loop.num_audit,
            feedback=learn_from_lineage(self._lineage) if loop.feedback else Feedback(),
            keep_predictions=True,
            reuse_run=f"round-{trained}" if trained < number else None,
        )

    def _forget_before(self, number: int) -> None:
        """Judgements that nothing will be told from again, now that there is another model."""
        for earlier in range(self._trained(max(number - 1, 1)), number):
            delete_predictions(self._at("findings"), f"round-{earlier}")

    def _trained(self, number: int) -> int:
        """The round whose training round `number` mines with."""
        return number - (number - 1) % self._loop.train_every

    def _label(self, number: int, mined: MineResult) -> str:
        campaign = f"campaigns/round-{number}"
        try:
            made = self._client.get_campaign(campaign)
        except NotFound:
            made = self._client.create_campaign(
                f"round-{number}",
                findings_uri=self._at("findings"),
                run_id=mined.run_id,
                votes_required=self._loop.votes_required,
                audit=_audit(mined),
            )
        if made.state in (CAMPAIGN_STATE_FINALIZING, CAMPAIGN_STATE_FINALIZED):
            return campaign  # answered before the loop was stopped
        total = (mined.num_findings + mined.num_audit) * self._loop.votes_required
        with self._progress.step(f"v{number} label", total) as advance:
            self._labeling(self._client, campaign, advance)
        return campaign

    def _wrong_parts(self, source: Source) -> Parts | None:
        """Where the label is not the gold one."""
        if self._loop.gold_column is None:
            return None
        truth = gold_labels(source, self._loop.gold_column)
        given = gold_labels(source, source.label_column)
        return frozenset(wrong_keys(task_named(source.task), given, truth))

    def _label_confidence(self, number: int) -> str:
        """Of the labels that the round starts from."""
        return self._at(f"label_confidence/v{number}")

    @property
    def _lineage(self) -> str:
        return self._at("lineage")

    def _at(self, name: str) -> str:
        return self._folder.address(name)


def gold_labels(source: Source, column: str) -> dict[str, str]:
    """id -> label in the task's text form, read from `column` of a pinned source's fit rows."""
    source = replace(source, label_column=column)
    table = delta.open_table(source.uri, source.version).to_pyarrow_table(columns=source.columns)
    checked: pa.Table = check(table, source=source)
    return {
        row["id"]: row["label"]
        for row in checked.select(["id", "label", "fault"]).to_pylist()
        if row["fault"] is None
    }


def wrong_keys(
    task: Task, given: Mapping[str, str], truth: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Id and unit of each part of a label that is not gold's. given, truth: id -> label."""
    for name, label in given.items():
        gold = truth.get(name, label)
        for unit in task.units(sorted({*task.classes_in(label), *task.classes_in(gold)})):
            if task.unit_label(label, unit) != task.unit_label(gold, unit):
                yield name, unit


def _audit(mined: MineResult) -> Audit | None:
    if not mined.num_audit:
        return None
    return Audit(uri=mined.audit_uri, run_id=mined.run_id, population=sum(mined.unasked_histogram))


def _share(some: Parts, among: Parts | None) -> float | None:
    return None if among is None or not some else len(some & among) / len(some)
