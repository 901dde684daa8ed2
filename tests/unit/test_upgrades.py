"""Two releases on one database: steps expand before they contract, and nothing unknown is fatal."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from sqlalchemy import create_engine, text

from relabel_service.errors import WrongState
from relabel_service.queue.migrations import OLDEST
from relabel_service.queue.store import open_store
from relabel_service.server.service import LeaseService
from relabel_service.tables.results import read_results
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.last_release import LastRelease
from tests.support.people import ACCEPTED, Person, stats
from tests.support.stores import new_queue_url, postgres_server

ACTIVE = campaigns_pb2.CAMPAIGN_STATE_ACTIVE


def test_the_last_release_goes_on_while_this_one_is_brought_in(tmp_path: Path) -> None:
    queue_url = postgres_server().create_database(f"queue_{uuid.uuid4().hex}")
    findings = write_findings(tmp_path, 60)
    with LastRelease(tmp_path, queue_url) as last:
        last("create", findings)
        assert last("label", "ann", "spam", 5) == [ACCEPTED] * 5
        store = open_store(queue_url)  # brings the database to this release's schema
        bob = Person(LeaseService(store), "bob")
        with ThreadPoolExecutor(1) as pool:
            labelled = pool.submit(last, "label", "ann", "spam", 20)
            for lease in bob.lease(20):
                assert bob.say(lease, "ham") == ACCEPTED
            assert labelled.result() == [ACCEPTED] * 20
        assert last("num_results") == stats(bob.service).num_results == 45
        # What the one leased the other takes back: a labeler may reach either replica.
        lease = leases_pb2.Lease.FromString(bytes.fromhex(last("lease", "cyd")))
        assert Person(bob.service, "cyd").say(lease, "spam") == ACCEPTED
        results = str(tmp_path / "results")
        assert last("finalize", results) == campaigns_pb2.CAMPAIGN_STATE_FINALIZED
        assert len(read_results(results, "test")) == 46
        store.close()


def test_a_campaign_of_this_release_is_worked_on_by_the_last_one(tmp_path: Path) -> None:
    queue_url = postgres_server().create_database(f"queue_{uuid.uuid4().hex}")
    with LastRelease(tmp_path, queue_url) as last:
        store = open_store(queue_url)
        service = LeaseService(store)
        made = service.CreateCampaign(create_request(write_findings(tmp_path, 9)), ADMIN).campaign
        assert made.state == ACTIVE
        assert last("label", "ann", "spam", 4) == [ACCEPTED] * 4
        request = rpc.FinalizeCampaignRequest(
            name=CAMPAIGN, results_uri=str(tmp_path / "results"), request_id=request_id()
        )
        assert service.FinalizeCampaign(request, ADMIN).campaign.num_answers == 4
        table = DeltaTable(tmp_path / "results").to_pyarrow_table()
        assert set(table["incarnation"].to_pylist()) == {made.incarnation}
        store.close()


def later(queue_url: str, *statements: str, oldest: str) -> None:
    """Make the database as a later release leaves it."""
    engine = create_engine(queue_url)
    with engine.begin() as connection:
        for statement in (
            "UPDATE alembic_version SET version_num = '9999'",
            f"UPDATE compatibility SET oldest = '{oldest}'",
            *statements,
        ):
            connection.execute(text(statement))
    engine.dispose()


def test_this_release_runs_on_the_database_of_a_later_one_that_allows_it(
    start: Start, queue_url: str
) -> None:
    service = start()
    [lease] = Person(service, "ann").lease()
    start.store.close()
    engine = create_engine(queue_url)
    with engine.connect() as connection:
        settings = json.loads(
            connection.execute(text("SELECT settings FROM campaigns")).scalar_one()
        )
    engine.dispose()
    settings |= {"later_setting": [1], "item_order": "later_order"}
    later(
        queue_url,
        "ALTER TABLE campaigns ADD COLUMN later_column TEXT",
        "ALTER TABLE items ADD COLUMN later_column TEXT",
        f"UPDATE campaigns SET settings = '{json.dumps(settings)}'",
        oldest=OLDEST,
    )
    store = open_store(queue_url)
    ann = Person(LeaseService(store), "ann")
    assert ann.say(lease, "spam") == ACCEPTED
    get = rpc.GetCampaignRequest(name=CAMPAIGN)
    shown = ann.service.GetCampaign(get, ADMIN).campaign
    assert (shown.state, shown.item_order) == (ACTIVE, campaigns_pb2.ITEM_ORDER_UNSPECIFIED)
    [other] = ann.lease()
    ann.release([other])
    request: Any = rpc.PauseCampaignRequest(name=CAMPAIGN, request_id=request_id())
    ann.service.PauseCampaign(request, ADMIN)
    with store.read_transaction() as (connection, _):
        kept = connection.execute(text("SELECT settings FROM campaigns")).scalar_one()
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert (json.loads(kept), version) == (settings, "9999")
    store.close()


def test_a_later_release_that_has_contracted_is_told(queue_url: str) -> None:
    open_store(queue_url).close()
    later(queue_url, oldest="9998")
    with pytest.raises(WrongState, match="'9999'"):
        open_store(queue_url)


def test_statistics_of_tables_that_were_small_go(tmp_path: Path) -> None:
    """Of releases before 0016, by which SQLite reads such a table from end to end."""
    url = new_queue_url("sqlite", tmp_path)
    with closing(open_store(url)) as store, store.write_transaction() as (connection, _):
        connection.execute(text("INSERT INTO idempotency_keys VALUES ('a', 'b', '', '', 0, NULL)"))
        for statement in ("ANALYZE", "UPDATE alembic_version SET version_num = '0015'"):
            connection.execute(text(statement))
    with closing(open_store(url)) as store, store.read_transaction() as (connection, _):
        tables = connection.execute(text("SELECT tbl FROM sqlite_stat1")).scalars().all()
    assert "idempotency_keys" not in tables
