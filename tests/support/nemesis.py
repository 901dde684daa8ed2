"""What goes wrong with a running service, on purpose."""

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.v1 import relabel_service_pb2_grpc
from relabel_service.wire.metadata import LABELER_KEY
from tests.support.link import Link
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess
from tests.support.small_disk import SmallDisk

REPLICA = "ServeReplica"
PAUSE_S = 2.0
SILENT_S = 4.0  # of the link to the database
FULL_S = 2.0
NUM_STREAMS, FLOOD_S = 1000, 3.0


@dataclass(frozen=True)
class Nemesis:
    """Does harm from which the service must recover by itself."""

    server: ServerProcess
    database: PostgresServer
    chance: random.Random
    link: Link | None = None
    """Between the two, where there is one."""
    disk: SmallDisk | None = None
    """The database's, where it can be filled."""

    def kill_replica(self) -> None:
        """SIGKILL; Serve starts another."""
        with suppress(psutil.NoSuchProcess, IndexError):
            self.chance.choice(self.server.processes(REPLICA)).send_signal(signal.SIGKILL)

    def pause_replica(self) -> None:
        """SIGSTOP for longer than a lease lasts: it wakes up with leases that went to others."""
        with suppress(psutil.NoSuchProcess, IndexError):
            replica = self.chance.choice(self.server.processes(REPLICA))
            replica.send_signal(signal.SIGSTOP)
            time.sleep(PAUSE_S)
            replica.send_signal(signal.SIGCONT)

    def crash_database(self) -> None:
        """Stop without a checkpoint; the next start recovers from the log."""
        self.database.stop("immediate")
        self.database.start()

    def flood_streams(self) -> None:
        """Open watches without end, of campaigns and of health, from one caller; then leave."""
        who = ((LABELER_KEY, "flood"),)
        with grpc.insecure_channel(self.server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            service: Any = relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]
            watch = rpc.WatchCampaignRequest(name="campaigns/none")
            calls = [
                health.Watch(health_pb2.HealthCheckRequest(), metadata=who)
                if number % 2
                else service.WatchCampaign(watch, metadata=who)
                for number in range(NUM_STREAMS)
            ]
            time.sleep(FLOOD_S)
            for call in calls:
                call.cancel()

    def partition(self) -> None:
        """Nothing comes through between replicas and database, and nothing says so."""
        assert self.link is not None
        self.link.silence()
        time.sleep(SILENT_S)
        self.link.heal(forgets=self.chance.random() < 0.5)

    def fill_disk(self) -> None:
        assert self.disk is not None
        self.disk.fill()
        time.sleep(FULL_S)
        self.disk.make_room()

    def harms(self) -> list[Callable[[], None]]:
        harms = [self.kill_replica, self.pause_replica, self.crash_database, self.flood_streams]
        if self.link:
            harms.append(self.partition)
        if self.disk:
            harms.append(self.fill_disk)
        return harms
