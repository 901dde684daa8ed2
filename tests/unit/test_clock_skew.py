"""Replicas whose hosts' clocks differ by minutes: the database's time decides."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from relabel_service.queue.store import open_store
from relabel_service.server.auth import Caller
from relabel_service.server.service import LeaseService
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.history import ACCEPTED, History, LeaseSpan, lease_end
from tests.support.people import Person, stats
from tests.support.stores import new_queue_url

NUM_ITEMS, VOTES, PEOPLE = 40, 2, 4
SKEWS_S = (600.0, -1200.0)  # of the two replicas' hosts
LEASE_S = 1

_skew = threading.local()


@pytest.fixture
def replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[tuple[LeaseService, float]]]:
    """Two services on one PostgreSQL, and their skews; one campaign."""
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + getattr(_skew, "s", 0.0))
    queue_url = new_queue_url("postgresql", tmp_path)
    stores = [open_store(queue_url) for _ in SKEWS_S]
    made = [LeaseService(store) for store in stores]
    request = create_request(
        write_findings(tmp_path, NUM_ITEMS), votes_required=VOTES, max_votes=VOTES
    )
    with skewed(SKEWS_S[0]):
        made[0].CreateCampaign(request, ADMIN)
    yield list(zip(made, SKEWS_S, strict=True))
    for store in stores:
        store.close()


@contextmanager
def skewed(seconds: float) -> Iterator[None]:
    """Within it, this thread's host has another time."""
    _skew.s = seconds
    try:
        yield
    finally:
        _skew.s = 0.0


def test_no_item_is_held_twice_and_no_answer_lost_when_clocks_differ(
    replicas: list[tuple[LeaseService, float]], tmp_path: Path
) -> None:
    history = History()

    def work(number: int) -> None:
        """Every call goes to the other replica than the one before; every fifth lease is lost."""
        name, calls = f"labeler-{number}", number
        while True:
            calls += 1
            service, skew = replicas[calls % 2]
            with skewed(skew):
                leases = Person(service, name).lease(3, lease_duration={"seconds": LEASE_S})
            received = time.time()
            if not leases:
                counts = stats(service)
                if counts.num_open == counts.num_leased == 0 or calls > 10_000:
                    return
                continue
            for index, lease in enumerate(leases):
                calls += 1
                service, skew = replicas[calls % 2]
                ends = lease_end(lease)
                if (calls + index) % 5 == 0:
                    history.spans.append(LeaseSpan(lease.item.rank, name, received, ends))
                    continue
                history.spans.append(
                    LeaseSpan(
                        lease.item.rank, name, received, max(received, min(time.time(), ends))
                    )
                )
                with skewed(skew):
                    status = Person(service, name).say(lease, "spam")
                if status == ACCEPTED:
                    history.accepted.append((lease.item.rank, name, "spam"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(PEOPLE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    request = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(tmp_path / "results"), request_id=request_id()
    )
    with skewed(SKEWS_S[1]):
        replicas[1][0].FinalizeCampaign(request, ADMIN)
    results = DeltaTable(tmp_path / "results").to_pyarrow_table().to_pylist()
    assert history.faults(results, votes_required=VOTES) == []
    assert len(results) == VOTES * NUM_ITEMS
    off_s = [abs(row["submit_time"].timestamp() - time.time()) for row in results]
    assert max(off_s) < min(map(abs, SKEWS_S))  # no host's own time was written


def test_a_lease_lasts_as_long_whichever_replica_is_asked(
    replicas: list[tuple[LeaseService, float]],
) -> None:
    expire: list[Any] = []
    for service, skew in replicas:
        with skewed(skew):
            [lease] = Person(service, f"ann {skew}").lease(lease_duration={"seconds": 60})
            expire.append(lease_end(lease))
            counts = service.GetCampaignStats(
                rpc.GetCampaignStatsRequest(name=CAMPAIGN), Caller("ann")
            )
            assert counts.stats.num_leased == 1
    assert abs(expire[1] - expire[0]) < min(map(abs, SKEWS_S))
