"""Replicas on PostgreSQL: they share one queue, and nothing answered OK is lost or doubled,
whatever dies. bench/soak.py does it at length."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deltalake import DeltaTable

from relabel_service.client import Client
from tests.integration import test_wire as wire
from tests.support.campaigns import write_findings
from tests.support.history import Habits, History, run_labelers
from tests.support.link import Link
from tests.support.nemesis import REPLICA, Nemesis
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess

NUM_REPLICAS = 2
NUM_ITEMS, NUM_LABELERS, VOTES = 150, 4, 2
CALM_S = 3.0  # between two harms, so that work goes on


@dataclass(frozen=True)
class Replicated:
    """A service of NUM_REPLICAS, its database, and the link between them."""

    server: ServerProcess
    database: PostgresServer
    link: Link


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """With a PostgreSQL of its own, which may be crashed."""
    database = PostgresServer()
    try:
        database.create_database("queue")
        with (
            Link(database.port) as link,
            ServerProcess(
                tmp_path_factory.mktemp("replicated"),
                queue_url=database.url("queue", port=link.port),
                options=("--replicas", str(NUM_REPLICAS)),
            ) as server,
        ):
            yield Replicated(server, database, link)
    finally:
        database.close()


def test_replicas_share_one_queue(replicated: Replicated, tmp_path: Path) -> None:
    server = replicated.server
    assert len(server.processes(REPLICA)) == NUM_REPLICAS
    campaign = wire.new_campaign(server, tmp_path, votes_required=2)
    counts = wire.label_everything(server.address, campaign)
    assert counts == dict.fromkeys(range(wire.NUM_ITEMS), 2)


def test_history_keeps_its_promises_while_everything_dies(
    replicated: Replicated, tmp_path: Path
) -> None:
    server, database, link = replicated.server, replicated.database, replicated.link
    with Client(server.address, labeler="admin") as admin:
        findings = write_findings(tmp_path, NUM_ITEMS)
        campaign = admin.create_campaign(
            "faults", findings_uri=findings, run_id="run", votes_required=VOTES, max_votes=VOTES
        ).name
        over = threading.Event()
        history = History()
        labelers = run_labelers(
            server.address,
            campaign,
            history,
            num=NUM_LABELERS,
            habits=Habits(batch=3, lease_s=1.0, abandons=0.2),
            is_over=over.is_set,
        )
        for harm in Nemesis(server, database, random.Random(0), link).harms():
            time.sleep(CALM_S)
            harm()
        over.set()
        for labeler in labelers:
            labeler.join()
        counts = admin.stats(campaign)
        admin.finalize(campaign, results_uri=str(tmp_path / "results"))
    results = DeltaTable(tmp_path / "results").to_pyarrow_table().to_pylist()
    assert history.faults(results, votes_required=VOTES) == []
    assert counts.num_open == counts.num_leased == 0
    assert len(results) == VOTES * NUM_ITEMS
