"""Who makes a call, before and after that is verified."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from relabel_service.server.auth import Caller


@dataclass(frozen=True)
class Calling:
    """Who calls.

    claimed: as far as that is known before it is verified; calls are capped by it. verify: finds
    out; raises Unauthenticated. It may block. on_behalf_of: for whom a frontend says it calls.
    admit: counts the call, and gives the labeler where a frontend calls; raises PermissionDenied,
    or Exhausted for who calls too often.
    """

    claimed: str
    verify: Callable[[], Caller]
    on_behalf_of: str = ""
    admit: Callable[[Caller], Caller] = lambda caller: caller

    def identify(self) -> Caller:
        return self.admit(self.verify())

    def known(self, caller: Caller) -> "Calling":
        """The same, identified."""
        return Calling(self.claimed, lambda: caller, self.on_behalf_of)

    def noted(self, callers: list[Caller]) -> "Calling":
        """The same; who has proven a name is put into the list."""

        def verify() -> Caller:
            callers.append(self.verify())
            return callers[-1]

        return replace(self, verify=verify)
