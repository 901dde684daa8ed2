"""Services without transport, on every kind of queue database."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from relabel_service.queue.store import Store, open_store
from relabel_service.server import campaign_rpcs
from relabel_service.server.service import LeaseService
from tests.support.campaigns import ADMIN, Clock, create_request, write_findings
from tests.support.sharing import BySharedStart
from tests.support.stores import KINDS, new_queue_url

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
# Ray gives way to every other process (niceness 15 in 2.60): beside a second process of tests its
# starts would take minutes.
os.environ.setdefault("RAY_worker_niceness", "0")
campaign_rpcs.IMPORT_S = 600.0  # so that a campaign that a test makes is there when it goes on


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedStart | None:
    """In the place of xdist's own --dist loadfile."""
    return BySharedStart(config, log) if config.getvalue("dist") == "loadfile" else None


class Start:
    """Makes services on one queue database whose clock the test moves."""

    def __init__(self, folder: Path, queue_url: str) -> None:
        self.folder = folder
        self.clock = Clock()
        self.store: Store = open_store(queue_url, clock=self.clock)

    def __call__(self, *, num_items: int = 3, **settings: Any) -> LeaseService:
        """A service with one campaign, named "test"."""
        service = LeaseService(self.store)
        findings = write_findings(self.folder, num_items)
        service.CreateCampaign(create_request(findings, **settings), ADMIN)
        return service


@pytest.fixture(params=KINDS)
def queue_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty queue database; the test runs once for each kind."""
    return new_queue_url(request.param, tmp_path)


@pytest.fixture
def start(tmp_path: Path, queue_url: str) -> Iterator[Start]:
    made = Start(tmp_path, queue_url)
    yield made
    made.store.close()
