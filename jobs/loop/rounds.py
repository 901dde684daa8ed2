"""The loop itself: rounds of train, mine, serve, label, merge on one Delta table.

Each step is idempotent: run again, it continues or returns its stored result, so a loop that was
stopped goes on where it was. The version that a round starts from is kept in a file: a repeated
round must not start from the version that it has made itself. A round whose answers are published
needs no service: where they are is kept in a file, too.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from cluster.data.rows import Source
from cluster.engine.base import Engine
from cluster.inference.evaluate import Evaluation, evaluate
from cluster.io.folder import Folder
from cluster.mining.config import MineConfig, MineResult
from cluster.mining.feedback_data import learn_from_lineage
from cluster.mining.label_confidence import write_label_confidence
from cluster.mining.mine import delete_predictions, mine
from cluster.scores.feedback import Feedback
from cluster.training.config import TrainConfig
from cluster.training.train import TrainRequest, train, train_all
from cluster.versions.merge import MergeConfig, MergeResult, decide, merge
from jobs.common.progress import StepProgress
from jobs.loop.config import LoopConfig
from jobs.loop.gold import gold_labels, wrong_keys
from jobs.loop.quality import DecidedRows, Quality, quality
from jobs.loop.resume import pin_version
from jobs.loop.service import Service
from relabel_service.client import Client
from relabel_service.errors import NotFound
from relabel_service.tables import delta
from relabel_service.tables.lineage import decided_by_people
from relabel_service.tables.results import FIRST, read_results
from relabel_service.tasks import task_named
from relabel_service.v1.campaigns_pb2 import (
    CAMPAIGN_STATE_FINALIZED,
    CAMPAIGN_STATE_FINALIZING,
    Audit,
)

Keys = frozenset[tuple[str, str]]  # id and unit
Metrics = Mapping[str, Evaluation]  # by test

LabelCampaign = Callable[[Client, str, Callable[[int], None]], None]
"""Labels a campaign (client, campaign, called with each number of answers): returns when no item
is left to be answered."""


@dataclass(frozen=True)
class Round:
    """One version: how good its model is, and which errors were found and fixed in it.

    version: v1 for the data as it came. metrics: of each test; empty where no model was trained
    on the version.
    num_wrong: wrong labels, or wrong parts of labels where the task goes class by class.
    precision: share of the leased items that were truly wrong; recall: share of the wrong ones
    that were leased; all None where gold is not known. num_without_gold: rows that these leave
    out, for their gold label is missing or invalid. quality: what the answers say.
    reviewed_weight: of its training; None where it had none.
    """

    version: str
    delta_version: int
    metrics: Metrics
    num_wrong: int | None = None
    mined: MineResult | None = None
    merged: MergeResult | None = None
    num_leased: int | None = None
    precision: float | None = None
    recall: float | None = None
    quality: Quality | None = None
    reviewed_weight: float | None = 1.0
    num_without_gold: int = 0


class Rounds:
    """Runs a loop against a service."""

    def __init__(
        self,
        config: LoopConfig,
        *,
        engine: Engine,
        service: Service,
        label: LabelCampaign,
        progress: StepProgress,
    ) -> None:
        self._config, self._engine, self._service = config, engine, service
        self._label_campaign, self._progress = label, progress
        self._folder = Folder(config.out)
        self._lineage = self._uri("lineage")

    def run(self) -> Iterator[Round]:
        """Each version's round as it ends; the last version is only trained and measured."""
        for number in range(1, self._config.num_rounds + 1):
            result = self._round(number)
            yield result
            if result.quality is not None and result.quality.num_worth_asking == 0:
                break
        self._service.stop()  # nobody is asked any more
        yield self._last(number + 1)

    def _round(self, number: int) -> Round:
        """Train where it is due, mine, have people label, merge, and look at what they said."""
        if not self._is_published(number):
            self._service.start()  # while the model is being trained
        source, training = self._source(number), None
        metrics: Metrics = {}
        if number == self._training_round(number):
            training = self._training(source, number)
            with self._progress.step(f"v{number} train", None):
                train(source, training, self._model_uri(number), self._engine)
            metrics = self._measure(f"v{number}")
            self._delete_predictions_before(number)
        with self._progress.step(f"v{number} mine", None):
            mined = mine(self.mining(number), self._engine)
        if not self._is_published(number):
            self._label(number, mined)
        with self._progress.step(f"v{number} merge", None):
            merged, quality = self._merge(number, source, mined)
        leased = delta.read_run(self._uri("findings"), mined.run_id, columns=["id", "unit", "rank"])
        asked = frozenset(zip(leased["id"].to_pylist(), leased["unit"].to_pylist(), strict=True))
        wrong, num_without_gold = self._wrong(source)
        return Round(
            version=f"v{number}",
            delta_version=source.version or 0,
            metrics=metrics,
            num_wrong=None if wrong is None else len(wrong),
            num_without_gold=num_without_gold,
            mined=mined,
            merged=merged,
            num_leased=leased.num_rows,
            precision=_share(asked, wrong),
            recall=None if wrong is None else _share(wrong, asked),
            quality=quality,
            reviewed_weight=training.reviewed_weight if training else None,
        )

    def _last(self, number: int) -> Round:
        """The last version's model, trained together with the ceiling's where gold is known."""
        source = self._source(number)
        training = replace(self._training(source, number), num_folds=0)
        requests = [TrainRequest(source, training, self._model_uri(number))]
        if self._config.gold_column is not None:
            first = replace(self._source(1), label_column=self._config.gold_column)
            on_gold = replace(self._config.training, num_folds=0, reviewed_weight=1.0)
            requests.append(TrainRequest(first, on_gold, self._uri("models/ceiling")))
        with self._progress.step(f"v{number} train", None):
            train_all(requests, self._engine)
        metrics = self._measure(f"v{number}")
        self._delete_predictions_before(number)
        wrong, num_without_gold = self._wrong(source)
        return Round(
            version=f"v{number}",
            delta_version=source.version or 0,
            metrics=metrics,
            num_wrong=None if wrong is None else len(wrong),
            num_without_gold=num_without_gold,
            reviewed_weight=training.reviewed_weight,
        )

    def ceiling(self) -> Metrics | None:
        """Metrics of a model trained on all gold labels; None where gold is not known. After run:
        the last round trains it."""
        return None if self._config.gold_column is None else self._measure("ceiling")

    def _training(self, source: Source, number: int) -> TrainConfig:
        """How the version is trained: by what people have decided, weighed as is best on dev."""
        config = replace(self._config.training, lineage_uri=self._lineage, reviewed_weight=1.0)
        if number == 1:
            return config  # nobody has decided anything
        if self._config.label_confidence:
            config = replace(config, label_confidence_uri=self._label_confidence_uri(number))
        weights = self._config.reviewed_weights
        candidates = [replace(config, reviewed_weight=weight) for weight in weights]
        if len(candidates) == 1:
            return candidates[0]
        test = self._config.choose_on
        assert test is not None
        names = [f"v{number}-weight-{weight:g}" for weight in weights]
        with self._progress.step(f"v{number} choose weight", None):
            requests = [
                TrainRequest(source, replace(config, num_folds=0), self._uri(f"models/{name}"))
                for name, config in zip(names, candidates, strict=True)
            ]
            train_all(requests, self._engine)
            headlines = [self._headline(name, test) for name in names]
        return candidates[headlines.index(max(headlines))]

    def _headline(self, name: str, test: str) -> float:
        """The task's first metric of a model on one test."""
        tests = {test: self._config.tests[test]}
        uri = self._uri(f"models/{name}")
        measured = evaluate(uri, tests, self._config.inference, self._engine)[test]
        return next(iter(measured.metrics.values()))

    def _measure(self, name: str) -> Metrics:
        with self._progress.step(f"{name} measure", None):
            return evaluate(
                self._uri(f"models/{name}"),
                self._config.tests,
                self._config.inference,
                self._engine,
            )

    def mining(self, number: int) -> MineConfig:
        """How a round mines, by what people have decided so far.

        Between trainings the version trained on is mined, without the decided rows: its
        predictions hold, and the training dynamics are about its labels.
        """
        config, training_round = self._config, self._training_round(number)
        return MineConfig(
            source=self._source(training_round),
            store_uri=self._model_uri(training_round),
            findings_uri=self._uri("findings"),
            quarantine_uri=self._uri("quarantine"),
            run_id=f"round-{number}",
            selection=config.selection,
            inference=config.inference,
            decided=decided_by_people(self._lineage),
            encoder=config.encoder,
            num_audit=config.num_audit,
            feedback=learn_from_lineage(self._lineage) if config.feedback else Feedback(),
            each_copy=config.each_copy,
            keep_predictions=True,
            reuse_run=f"round-{training_round}" if training_round < number else None,
        )

    def _label(self, number: int, mined: MineResult) -> None:
        """Return once every item of the round's campaign is answered."""
        name = _campaign(number)
        client = self._service.connect()
        try:
            campaign = client.get_campaign(name)
        except NotFound:
            campaign = client.create_campaign(
                f"round-{number}",
                findings_uri=self._uri("findings"),
                run_id=mined.run_id,
                votes_required=self._config.votes_required,
                audit=_audit(mined),
            )
        if campaign.state in (CAMPAIGN_STATE_FINALIZING, CAMPAIGN_STATE_FINALIZED):
            return  # answered before the loop was stopped
        num_answers = (mined.num_findings + mined.num_audit) * self._config.votes_required
        with self._progress.step(f"v{number} label", num_answers) as advance:
            self._label_campaign(client, name, advance)

    def _is_published(self, number: int) -> bool:
        """Whether the round's answers are: then nobody is asked, and no service is needed."""
        return self._folder.exists(_published_file(number))

    def _publish(self, number: int) -> tuple[str, str]:
        """The table of the round's answers, and the incarnation of its campaign."""
        if not self._is_published(number):
            finalized = self._service.connect().finalize(
                _campaign(number), results_uri=self._uri("results")
            )
            published = {
                "results_uri": finalized.results_uri,
                "incarnation": finalized.incarnation or FIRST,
            }
            self._folder.write(_published_file(number), json.dumps(published).encode())
        published = json.loads(self._folder.read(_published_file(number)))
        return published["results_uri"], published["incarnation"]

    def _merge(self, number: int, source: Source, mined: MineResult) -> tuple[MergeResult, Quality]:
        """Publish the answers, make the next version of them, and measure the labels by them."""
        results_uri, incarnation = self._publish(number)
        merged = merge(
            MergeConfig(
                replace(source, version=None),
                results_uri,
                f"round-{number}",
                self._lineage,
                consensus=self._config.consensus,
                incarnation=incarnation,
            )
        )
        results = read_results(results_uri, f"round-{number}", incarnation=incarnation)
        decisions, _ = decide(results, self._config.consensus)
        mining = self.mining(number)
        if not self._config.feedback:  # answers that do not rank still say what is left
            mining = replace(mining, feedback=learn_from_lineage(self._lineage))
        unasked = write_label_confidence(
            mining, self._engine, self._label_confidence_uri(number + 1)
        )
        decided = DecidedRows.of(results, decisions)
        return merged, quality(mined, unasked, decided, self._config.stop_rule)

    def _delete_predictions_before(self, number: int) -> None:
        """Those of earlier models, which nothing is computed from any more."""
        for earlier in range(self._training_round(max(number - 1, 1)), number):
            delete_predictions(self._uri("findings"), f"round-{earlier}")

    def _source(self, number: int) -> Source:
        """The source at the version that round `number` starts from, now and when repeated."""
        return pin_version(self._folder, f"rounds/{number}", self._config.source)

    def _training_round(self, number: int) -> int:
        """The round whose model round `number` mines with."""
        return number - (number - 1) % self._config.train_every

    def _wrong(self, source: Source) -> tuple[Keys | None, int]:
        """Where the label is not the gold one, if that is known; and how many rows have none."""
        if self._config.gold_column is None:
            return None, 0
        gold = gold_labels(source, self._config.gold_column)
        labels = gold_labels(source, source.label_column)
        wrong = frozenset(wrong_keys(task_named(source.task), labels, gold))
        return wrong, len(labels.keys() - gold.keys())

    def _label_confidence_uri(self, number: int) -> str:
        """Of the labels that the round starts from."""
        return self._uri(f"label_confidence/v{number}")

    def _model_uri(self, number: int) -> str:
        return self._uri(f"models/v{number}")

    def _uri(self, name: str) -> str:
        return self._folder.address(name)


def _campaign(number: int) -> str:
    return f"campaigns/round-{number}"


def _published_file(number: int) -> str:
    """Names the round's results; written once they are whole."""
    return f"rounds/{number}.published.json"


def _audit(mined: MineResult) -> Audit | None:
    if not mined.num_audit:
        return None
    return Audit(uri=mined.audit_uri, run_id=mined.run_id, population=sum(mined.unasked_histogram))


def _share(keys: Keys, among: Keys | None) -> float | None:
    return None if among is None or not keys else len(keys & among) / len(keys)
