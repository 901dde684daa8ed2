"""What goes wrong with a running service, on purpose."""

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess

REPLICA = "ServeReplica"
PAUSE_S = 2.0


@dataclass(frozen=True)
class Nemesis:
    """Does harm from which the service must recover by itself."""

    server: ServerProcess
    database: PostgresServer
    chance: random.Random

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

    def harms(self) -> list[Callable[[], None]]:
        return [self.kill_replica, self.pause_replica, self.crash_database]
