"""A real partition between a replica and its database: no call waits for its end.

All that is lost is swallowed without a word, so that only the time limits of the connections
end a call. Each test heals the network last: a call that returned before did not wait for it.
"""

from collections.abc import Iterator

import pytest

from tests.support.network import SERVER, Network
from tests.support.postgres import PostgresServer
from tests.support.remote_store import RemoteStore

LOST = "Unavailable: the queue's postgresql database did not answer"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
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
