"""Whatever people do and however long they take, the queue keeps its promises."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relabel_service.errors import WrongState
from relabel_service.queue.together import ALONE
from relabel_service.server.auth import Caller
from relabel_service.server.idempotency import Sent
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, request_id
from tests.support.stores import new_queue_url

NUM_ITEMS = 4
DURATION_S = 300.0  # the campaign's default
NO_VOTES = (leases_pb2.DECISION_SKIP, leases_pb2.DECISION_ESCALATE)
labelers = st.sampled_from(["ann", "bob", "cyd"])
decisions = st.sampled_from(leases_pb2.Decision.values()[1:])
durations = st.sampled_from([1.0, 100.0, 1000.0])


def _started(machine: Any) -> bool:
    return hasattr(machine, "service")


class Queue(RuleBasedStateMachine):
    """Model: every lease that was given, and every result that was accepted."""

    kind: str

    @initialize(votes_required=st.integers(1, 2), more=st.integers(0, 1), never_again=st.booleans())
    def start(self, votes_required: int, more: int, never_again: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.start_on = Start(folder, new_queue_url(self.kind, folder))
        self.service = self.start_on(
            num_items=NUM_ITEMS,
            votes_required=votes_required,
            max_votes=votes_required + more,
            skip_policy=campaigns_pb2.SKIP_POLICY_NEVER_AGAIN if never_again else 0,
        )
        self.clock = self.start_on.clock
        self.most_votes = votes_required + more
        self.never_again = never_again
        self.state = "active"
        # Token, labeler, rank, whether as an adjudicator.
        self.leased: list[tuple[str, str, int, bool]] = []
        self.expires: dict[str, float] = {}  # of leases not yet released or submitted
        self.kept_back: dict[int, float] = {}  # rank -> when it may be leased again
        # Labeler, rank, decision, whether as an adjudicator.
        self.accepted: list[tuple[str, int, int, bool]] = []

    def teardown(self) -> None:
        if hasattr(self, "start_on"):
            self.start_on.store.close()
            self.folder.cleanup()

    def labelers_of(self, rank: int, *, adjudicating: bool) -> list[str]:
        now = self.clock()
        return [
            labeler
            for token, labeler, at, as_adjudicator in self.leased
            if at == rank and as_adjudicator is adjudicating and self.expires.get(token, 0.0) > now
        ]

    def lease_as(
        self, caller: Caller, max_items: int, *, as_adjudicator: bool
    ) -> list[leases_pb2.Lease]:
        request = rpc.LeaseItemsRequest(
            parent=CAMPAIGN, max_items=max_items, adjudicate=as_adjudicator, request_id=request_id()
        )
        try:
            taken = self.service.LeaseItems(request, caller).leases
        except WrongState:
            assert self.state != "active"
            return []
        assert self.state == "active"
        assert self.service.LeaseItems(request, caller).leases == taken
        self.take(caller, taken, as_adjudicator=as_adjudicator)
        return list(taken)

    def take(
        self, caller: Caller, taken: Sequence[leases_pb2.Lease], *, as_adjudicator: bool
    ) -> None:
        ranks = [lease.item.rank for lease in taken]
        assert len(ranks) == len(set(ranks))
        answered = {(who, at) for who, at, _, _ in self.accepted}
        for lease in taken:
            rank = lease.item.rank
            assert caller.name not in self.labelers_of(rank, adjudicating=as_adjudicator)
            assert (caller.name, rank) not in answered
            if not as_adjudicator:
                assert self.kept_back.get(rank, 0.0) <= self.clock()
            self.leased.append((lease.token, caller.name, rank, as_adjudicator))
            self.expires[lease.token] = self.clock() + DURATION_S

    @rule(labeler=labelers, max_items=st.integers(1, NUM_ITEMS))
    def lease(self, labeler: str, max_items: int) -> None:
        skipped = {at for _, at, decision, _ in self.accepted if decision == NO_VOTES[0]}
        for lease in self.lease_as(Caller(labeler), max_items, as_adjudicator=False):
            assert not (self.never_again and lease.item.rank in skipped)

    @rule(names=st.permutations(["ann", "bob", "cyd"]), max_items=st.integers(1, NUM_ITEMS))
    def lease_together(self, names: list[str], max_items: int) -> None:
        all_sent = [
            Sent(
                rpc.LeaseItemsRequest(
                    parent=CAMPAIGN, max_items=max_items, request_id=request_id()
                ),
                Caller(name),
            )
            for name in names
        ]
        skipped = {at for _, at, decision, _ in self.accepted if decision == NO_VOTES[0]}
        for sent, response in zip(
            all_sent, self.service.lease_together("test", all_sent), strict=True
        ):
            if isinstance(response, WrongState):
                assert self.state != "active"
            elif response is not ALONE:
                assert isinstance(response, rpc.LeaseItemsResponse)
                assert self.state == "active"
                self.take(sent.caller, response.leases, as_adjudicator=False)
                ranks = {lease.item.rank for lease in response.leases}
                assert not (self.never_again and ranks & skipped)

    @precondition(lambda self: _started(self) and self.leased)
    @rule(data=st.data(), decision=decisions)
    def submit_together(self, data: st.DataObject, decision: int) -> None:
        """One result of each of the labelers, of leases old and new."""
        drawn: dict[str, tuple[str, int, bool]] = {}
        for token, labeler, rank, as_adjudicator in data.draw(st.permutations(self.leased)):
            drawn.setdefault(labeler, (token, rank, as_adjudicator))
        all_sent = []
        for labeler, (token, _, _) in drawn.items():
            result = leases_pb2.Result(token=token, decision=decision)  # type: ignore[arg-type]
            if decision == leases_pb2.DECISION_RELABEL:
                result.label.class_label.class_name = "spam"
            request = rpc.SubmitResultsRequest(
                parent=CAMPAIGN, results=[result], request_id=request_id()
            )
            all_sent.append(Sent(request, Caller(labeler)))
        responses = self.service.submit_together("test", all_sent)
        for (labeler, (token, rank, as_adjudicator)), response in zip(
            drawn.items(), responses, strict=True
        ):
            if response is not ALONE:
                assert isinstance(response, rpc.SubmitResultsResponse)
                [outcome] = response.outcomes
                self.submitted(token, labeler, rank, decision, outcome.status, as_adjudicator)

    @rule(max_items=st.integers(1, NUM_ITEMS))
    def adjudicate(self, max_items: int) -> None:
        judy = Caller("judy", frozenset({"adjudicator"}))
        voted = {at for _, at, _, as_adjudicator in self.accepted if not as_adjudicator}
        for lease in self.lease_as(judy, max_items, as_adjudicator=True):
            assert lease.item.rank in voted  # somebody escalated it, or people disagree

    @precondition(lambda self: _started(self) and self.leased)
    @rule(data=st.data(), decision=decisions)
    def submit(self, data: st.DataObject, decision: int) -> None:
        token, labeler, rank, as_adjudicator = data.draw(st.sampled_from(self.leased))
        result = leases_pb2.Result(token=token, decision=decision)  # type: ignore[arg-type]
        if decision == leases_pb2.DECISION_RELABEL:
            result.label.class_label.class_name = "spam"
        request = rpc.SubmitResultsRequest(
            parent=CAMPAIGN, results=[result], request_id=request_id()
        )
        [outcome] = self.service.SubmitResults(request, Caller(labeler)).outcomes
        self.submitted(token, labeler, rank, decision, outcome.status, as_adjudicator)

    def submitted(
        self,
        token: str,
        labeler: str,
        rank: int,
        decision: int,
        status: int,
        as_adjudicator: bool,
    ) -> None:
        if self.state == "closed":
            assert status == leases_pb2.RESULT_STATUS_CLOSED
            return
        if self.expires.get(token, 0.0) > self.clock():
            assert status == leases_pb2.RESULT_STATUS_ACCEPTED
        if status == leases_pb2.RESULT_STATUS_ACCEPTED:
            assert token in self.expires  # neither answered nor released before
            self.accepted.append((labeler, rank, decision, as_adjudicator))
            del self.expires[token]

    @precondition(lambda self: _started(self) and self.leased)
    @rule(data=st.data(), duration_s=durations)
    def extend(self, data: st.DataObject, duration_s: float) -> None:
        token, labeler, _, _ = data.draw(st.sampled_from(self.leased))
        request = rpc.ExtendLeasesRequest(
            parent=CAMPAIGN,
            tokens=[token],
            lease_duration={"seconds": int(duration_s)},
            request_id=request_id(),
        )
        [outcome] = self.service.ExtendLeases(request, Caller(labeler)).outcomes
        if self.state == "closed":
            assert not outcome.HasField("expire_time")
            return
        if self.expires.get(token, 0.0) > self.clock():
            assert outcome.HasField("expire_time")
        if outcome.HasField("expire_time"):
            assert token in self.expires
            self.expires[token] = self.clock() + duration_s
            assert outcome.expire_time.seconds == int(self.expires[token])

    @precondition(lambda self: _started(self) and self.leased)
    @rule(data=st.data(), delay_s=st.sampled_from([0.0, 50.0, 400.0]))
    def release(self, data: st.DataObject, delay_s: float) -> None:
        token, labeler, rank, as_adjudicator = data.draw(st.sampled_from(self.leased))
        request = rpc.ReleaseLeasesRequest(
            parent=CAMPAIGN, tokens=[token], delay={"seconds": int(delay_s)},
            request_id=request_id(),
        )  # fmt: skip
        num_released = self.service.ReleaseLeases(request, Caller(labeler)).num_released
        assert num_released == 1 or self.expires.get(token, 0.0) <= self.clock()
        if num_released and not as_adjudicator and delay_s:
            self.kept_back[rank] = self.clock() + delay_s
        self.expires.pop(token, None)

    @precondition(_started)
    @rule(verb=st.sampled_from(["Pause", "Resume", "Pause", "Resume", "Close"]))
    def move(self, verb: str) -> None:
        request = getattr(rpc, f"{verb}CampaignRequest")(name=CAMPAIGN, request_id=request_id())
        to = {"Pause": "paused", "Resume": "active", "Close": "closed"}[verb]
        try:
            getattr(self.service, f"{verb}Campaign")(request, ADMIN)
        except WrongState:
            assert self.state == "closed"
            assert to != "closed"
        else:
            self.state = to

    @rule(seconds=st.sampled_from([1.0, 200.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def slots_are_never_overfull(self) -> None:
        for rank in range(NUM_ITEMS if _started(self) else 0):
            votes = [
                at
                for _, at, decision, as_adjudicator in self.accepted
                if at == rank and not as_adjudicator and decision not in NO_VOTES
            ]
            labelers = self.labelers_of(rank, adjudicating=False)
            assert len(labelers) + len(votes) <= self.most_votes
            assert len(set(labelers)) == len(labelers)
            assert len(self.labelers_of(rank, adjudicating=True)) <= 1

    @invariant()
    def counts_add_up_and_nothing_accepted_is_lost(self) -> None:
        if not _started(self):
            return
        request = rpc.GetCampaignStatsRequest(name=CAMPAIGN)
        counts = self.service.GetCampaignStats(request, ADMIN).stats
        states = ("open", "leased", "done", "skipped", "escalated")
        assert sum(getattr(counts, f"num_{state}") for state in states) == NUM_ITEMS
        assert counts.num_results == len(self.accepted)


class SqliteQueue(Queue):
    kind = "sqlite"


class PostgresQueue(Queue):
    kind = "postgresql"


TestSqliteQueue = SqliteQueue.TestCase
TestPostgresQueue = PostgresQueue.TestCase
TestSqliteQueue.settings = TestPostgresQueue.settings = settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a history takes minutes
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
