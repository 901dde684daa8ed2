"""Nothing answered OK is lost or doubled, whatever dies. bench/soak.py does it at length."""

import random
import threading
import time
from pathlib import Path

from deltalake import DeltaTable

from relabel_service.client import Client
from tests.support.campaigns import write_findings
from tests.support.history import Habits, History, run_labelers
from tests.support.link import Link
from tests.support.nemesis import Nemesis
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess

NUM_ITEMS, NUM_LABELERS, VOTES = 150, 4, 2
CALM_S = 3.0  # between two harms, so that work goes on


def test_history_keeps_its_promises_while_everything_dies(tmp_path: Path) -> None:
    database = PostgresServer()
    try:
        check_history(tmp_path, database)
    finally:
        database.close()


def check_history(folder: Path, database: PostgresServer) -> None:
    database.create_database("queue")
    with (
        Link(database.port) as link,
        ServerProcess(
            folder,
            queue_url=database.url("queue", port=link.port),
            options=("--replicas", "2"),
        ) as server,
        Client(server.address, labeler="admin") as admin,
    ):
        findings = write_findings(folder, NUM_ITEMS)
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
        admin.finalize(campaign, results_uri=str(folder / "results"))
    results = DeltaTable(folder / "results").to_pyarrow_table().to_pylist()
    assert history.faults(results, votes_required=VOTES) == []
    assert counts.num_open == counts.num_leased == 0
    assert len(results) == VOTES * NUM_ITEMS
