"""What each RPC does: validate the whole request, then change the queue in one transaction.

Knows messages and the queue, not the transport: app.py gives it a caller's
name and turns the errors it raises into gRPC codes. The methods are the RPCs of
relabel_service.proto, one each.
"""

from collections.abc import Callable

from relabel_service.queue.store import Store
from relabel_service.server.admin_log import AdminLogRpcs
from relabel_service.server.background import Background
from relabel_service.server.campaign_rpcs import CampaignRpcs
from relabel_service.server.lease_rpcs import LeaseRpcs
from relabel_service.server.rate_limits import DEFAULT_LIMITS, Limits
from relabel_service.server.reopen_rpcs import ReopenRpcs


class LeaseService(CampaignRpcs, LeaseRpcs, ReopenRpcs, AdminLogRpcs):
    """Every RPC, on one queue database. Safe to call from several threads."""

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits = DEFAULT_LIMITS,
        on_change: Callable[[str], None] = lambda campaign: None,
        retention_days: float = 0.0,
    ) -> None:
        """on_change: called with a campaign's id when whoever waits there should look.
        retention_days: after these a finalized campaign is deleted; 0: never."""
        self._store = store
        self._limits = limits
        self._on_change = on_change
        self.background = Background(store, retention_days=retention_days, on_change=on_change)

    def check_health(self) -> None:
        """Raises whatever the queue database raises when it does not answer."""
        self._store.ping()
