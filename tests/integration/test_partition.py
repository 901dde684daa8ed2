"""A real partition between a replica and its database: no call waits for its end.

All that is lost is swallowed without a word, so that only the time limits of the connections
end a call. Each test heals the network last: a call that returned before did not wait for it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.support.campaigns import write_findings
from tests.support.network import SERVER, Network
from tests.support.postgres import PostgresServer
from tests.support.remote_labeler import RemoteLabeler
from tests.support.remote_store import RemoteStore
from tests.support.servers import PROGRAM, ServerProcess

LOST = "Unavailable: the queue's postgresql database did not answer"
ACCEPTED = "RESULT_STATUS_ACCEPTED "  # and the item's row


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def database(network: Network) -> Iterator[PostgresServer]:
    server = PostgresServer(SERVER, as_user=network.on_server())
    yield server
    server.close()


@pytest.fixture
def replica(network: Network, database: PostgresServer) -> Iterator[RemoteStore]:
    with RemoteStore(database.url("postgres"), prefix=network.on_client()) as store:
        assert store.ask("write").result() == "ok"
        yield store


def test_calls_and_health_say_so_during_a_partition_and_go_on_after_it(
    network: Network, replica: RemoteStore
) -> None:
    assert replica.ask("health").result() == "ok"
    asleep = replica.ask("sleep")  # its statement is acknowledged: only probes find out
    assert replica.ask("write").result() == "ok"
    network.partition()
    calls = [replica.ask(what) for what in ("write", "read", "ping")]
    assert replica.ask("health").result() == (
        "Unavailable: the queue database has not answered for 1 s"
    )
    for call in (*calls, asleep, replica.ask("write")):
        assert call.result().startswith(LOST)
    network.heal()
    assert [replica.ask(what).result() for what in ("write", "read", "ping", "health")] == [
        "ok"
    ] * 4


def test_what_a_lost_replica_holds_is_free_for_the_others(
    network: Network, database: PostgresServer, replica: RemoteStore
) -> None:
    near = network.on_server()[: len(network.on_client())]
    with RemoteStore(database.url("postgres"), prefix=near) as other:
        assert replica.ask("hold").result() == "ok"  # the lock of a caller
        network.partition()
        while (answer := other.ask("write").result()) != "ok":
            assert "another call holds" in answer
        network.heal()
        assert replica.ask("write").result() == "ok"


def test_a_whole_service_says_so_and_goes_on_by_itself(
    tmp_path: Path, network: Network, database: PostgresServer
) -> None:
    program = [*network.on_client(), *PROGRAM]
    with (
        ServerProcess(tmp_path, queue_url=database.url("postgres"), program=program) as server,
        RemoteLabeler(server.address, prefix=network.on_client()) as labeler,
    ):
        created = labeler.ask(f"create {write_findings(tmp_path, 1000)}")
        assert created.result() == "ok"
        said = [labeler.ask("label").result() for _ in range(3)]
        assert labeler.ask("health").result() == "SERVING"
        network.partition()
        calls = [labeler.ask("label") for _ in range(3)]
        while labeler.ask("health").result() != "NOT_SERVING":  # an answer stands for a second
            pass
        for call in calls:
            assert call.result().startswith("Unavailable: ")  # by its own limit, or by Serve's
        network.heal()
        while not (answer := labeler.ask("label").result()).startswith(ACCEPTED):
            assert answer.startswith("Unavailable: ")
        said.append(answer)
        while labeler.ask("health").result() != "SERVING":
            pass
        assert labeler.ask(f"finalize {tmp_path / 'results'}").result() == "ok"
    accepted = {answer.removeprefix(ACCEPTED) for answer in said}
    stored = DeltaTable(tmp_path / "results").to_pyarrow_table()["id"].to_pylist()
    assert len(accepted) == len(said)
    assert accepted <= set(stored)
    assert len(stored) == len(set(stored))
