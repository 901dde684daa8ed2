"""Whatever labelers do and however long they take, the queue keeps its promises."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relabel_service.auth import Caller
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.campaigns import ADMIN, CAMPAIGN, request_id
from tests.conftest import Start
from tests.stores import new_queue_url

NUM_ITEMS = 4
DURATION_S = 300.0  # the campaign's default
labelers = st.sampled_from(["ann", "bob", "cyd"])
decisions = st.sampled_from(leases_pb2.Decision.values()[1:])


class Queue(RuleBasedStateMachine):
    """Model: every lease ever given, and every answer that was confirmed."""

    kind: str

    @initialize(votes_required=st.integers(1, 2))
    def start(self, votes_required: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.start_on = Start(folder, new_queue_url(self.kind, folder))
        self.service = self.start_on(num_items=NUM_ITEMS, votes_required=votes_required)
        self.clock = self.start_on.clock
        self.votes_required = votes_required
        self.given: list[tuple[str, str, int]] = []  # token, labeler, rank
        self.expires: dict[str, float] = {}  # of leases not yet released or answered
        self.accepted: list[tuple[str, int, int]] = []  # labeler, rank, decision

    def teardown(self) -> None:
        if hasattr(self, "start_on"):
            self.start_on.store.close()
            self.folder.cleanup()

    def holders(self, rank: int) -> list[str]:
        now = self.clock()
        return [
            labeler
            for token, labeler, at in self.given
            if at == rank and self.expires.get(token, 0.0) > now
        ]

    @rule(labeler=labelers, max_items=st.integers(1, NUM_ITEMS))
    def lease(self, labeler: str, max_items: int) -> None:
        request = rpc.LeaseItemsRequest(
            parent=CAMPAIGN, max_items=max_items, request_id=request_id()
        )
        taken = self.service.LeaseItems(request, Caller(labeler)).leases
        assert self.service.LeaseItems(request, Caller(labeler)).leases == taken
        ranks = [one.item.rank for one in taken]
        assert len(ranks) == len(set(ranks))
        for one in taken:
            assert labeler not in self.holders(one.item.rank)
            assert (labeler, one.item.rank) not in {(who, at) for who, at, _ in self.accepted}
            self.given.append((one.token, labeler, one.item.rank))
            self.expires[one.token] = self.clock() + DURATION_S

    @precondition(lambda self: self.given)
    @rule(data=st.data(), decision=decisions)
    def submit(self, data: st.DataObject, decision: int) -> None:
        token, labeler, rank = data.draw(st.sampled_from(self.given))
        result = leases_pb2.Result(token=token, decision=decision)  # type: ignore[arg-type]
        if decision == leases_pb2.DECISION_RELABEL:
            result.label.class_label.class_name = "spam"
        request = rpc.SubmitResultsRequest(
            parent=CAMPAIGN, results=[result], request_id=request_id()
        )
        [outcome] = self.service.SubmitResults(request, Caller(labeler)).outcomes
        if self.expires.get(token, 0.0) > self.clock():
            assert outcome.status == leases_pb2.RESULT_STATUS_ACCEPTED
        if outcome.status == leases_pb2.RESULT_STATUS_ACCEPTED:
            assert token in self.expires  # neither answered nor released before
            self.accepted.append((labeler, rank, decision))
            del self.expires[token]

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        token, labeler, _ = data.draw(st.sampled_from(self.given))
        request = rpc.ReleaseLeasesRequest(parent=CAMPAIGN, tokens=[token], request_id=request_id())
        self.service.ReleaseLeases(request, Caller(labeler))
        self.expires.pop(token, None)

    @rule(seconds=st.sampled_from([1.0, 200.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def slots_are_never_overfull(self) -> None:
        for rank in range(NUM_ITEMS if hasattr(self, "service") else 0):
            votes = [
                at
                for _, at, decision in self.accepted
                if at == rank
                and decision not in (leases_pb2.DECISION_SKIP, leases_pb2.DECISION_ESCALATE)
            ]
            assert len(self.holders(rank)) + len(votes) <= self.votes_required
            assert len(set(self.holders(rank))) == len(self.holders(rank))

    @invariant()
    def counts_add_up_and_nothing_confirmed_is_lost(self) -> None:
        if not hasattr(self, "service"):
            return
        request = rpc.GetCampaignStatsRequest(name=CAMPAIGN)
        counts = self.service.GetCampaignStats(request, ADMIN).stats
        places = ("open", "leased", "done", "skipped", "escalated")
        assert sum(getattr(counts, f"num_{place}") for place in places) == NUM_ITEMS
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
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
