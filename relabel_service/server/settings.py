"""What to serve, from a command line or a Serve config. No Ray here: app.py has that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from relabel_service.errors import InvalidInput
from relabel_service.media import prefixes
from relabel_service.queue.store import check_replicas
from relabel_service.server.auth import AuthSettings
from relabel_service.server.rate_limits import DEFAULT_LIMITS, Limits
from relabel_service.server.regular_exports import NO_EXPORTS, ExportSettings

STARTED = "serving gRPC"  # begins the line that `relabel serve` prints when it answers
LOCAL_ONLY, OPEN = "local", "open"  # auth without keys: this machine's callers, or everybody
MAX_HEARTBEAT_S = 30.0  # half of wire.reconnecting.SILENCE_S

S = TypeVar("S", AuthSettings, Limits, ExportSettings)


@dataclass(frozen=True)
class ServeSettings:
    """What to serve.

    auth: how tokens are verified, LOCAL_ONLY or OPEN. media_prefixes: folders and stores whose
    files are shown to browsers where rows hold their addresses. cors_origins: other sites whose
    pages may call the service over HTTP, as `https://label.example.org`.
    """

    queue_url: str
    num_replicas: int = 1
    auth: AuthSettings | str = LOCAL_ONLY
    limits: Limits = DEFAULT_LIMITS
    media_prefixes: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    exports: ExportSettings = NO_EXPORTS
    retention_days: float = 0.0
    """After these a finalized campaign is deleted from the queue; 0: never."""
    heartbeat_s: float = 20.0
    """Between two signs of life in a stream that has nothing else to say."""
    table_prefixes: tuple[str, ...] = ()
    """Folders and stores whose tables requests may name, to be read and written; empty: any."""
    audit_log: str = ""
    """File of the audit lines (audit.py); empty: standard error."""

    def __post_init__(self) -> None:
        if not self.retention_days >= 0:
            raise InvalidInput.of(
                "retention_days", f"{self.retention_days} is below 0; use 0 to keep campaigns"
            )
        if not 0 < self.heartbeat_s <= MAX_HEARTBEAT_S:
            raise InvalidInput.of(
                "heartbeat_s",
                f"{self.heartbeat_s} is out of range; use more than 0 and at most "
                f"{MAX_HEARTBEAT_S:g}, since clients give up streams that are silent for a minute",
            )
        check_replicas(self.queue_url, self.num_replicas)
        prefixes.checked(self.media_prefixes)
        prefixes.checked(self.table_prefixes, "table_prefix")
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
                raise InvalidInput.of(
                    "cors_origin",
                    f"{origin!r} is not an origin; write scheme and host, as "
                    "https://label.example.org, with its port where it has one",
                )
        if isinstance(self.auth, str) and self.auth not in (LOCAL_ONLY, OPEN):
            raise InvalidInput.of("auth", f"{self.auth!r} is not known; use {LOCAL_ONLY} or {OPEN}")


def settings_from(args: Mapping[str, Any]) -> ServeSettings:
    """From a Serve config's args.

    queue_url; replicas (1); auth: the fields of auth.AuthSettings, or "local" (callers on
    this machine, the default), or "open" (a gateway authenticates); limits: fields of
    rate_limits.Limits; media_prefixes, cors_origins and table_prefixes: lists;
    exports: of regular_exports.ExportSettings; retention_days (0: keep); heartbeat_s (20);
    audit_log: a file. Raises
    InvalidInput, among others where several replicas would share an SQLite queue: it has one
    writer, and OK must mean one durable truth.
    """
    names = {
        "queue_url", "replicas", "auth", "limits", "media_prefixes", "cors_origins", "exports",
        "audit_log",
        "retention_days", "heartbeat_s", "table_prefixes",
    }  # fmt: skip
    if unknown := sorted(set(args) - names):
        raise InvalidInput.of(f"args.{unknown[0]}", f"is not known; use {', '.join(sorted(names))}")
    if not args.get("queue_url"):
        raise InvalidInput.of("args.queue_url", "is not set; name the queue database's URL")
    auth = args.get("auth", LOCAL_ONLY)
    return ServeSettings(
        queue_url=args["queue_url"],
        num_replicas=int(args.get("replicas", 1)),
        auth=auth if isinstance(auth, str) else _built(AuthSettings, "args.auth", auth),
        limits=_built(Limits, "args.limits", args.get("limits", {})),
        media_prefixes=tuple(args.get("media_prefixes", ())),
        cors_origins=tuple(args.get("cors_origins", ())),
        exports=_built(ExportSettings, "args.exports", args.get("exports", {})),
        retention_days=float(args.get("retention_days", 0.0)),
        heartbeat_s=float(args.get("heartbeat_s", ServeSettings.heartbeat_s)),
        table_prefixes=tuple(args.get("table_prefixes", ())),
        audit_log=str(args.get("audit_log", "")),
    )


def _built(kind: type[S], path: str, values: Mapping[str, Any]) -> S:
    names = [field.name for field in fields(kind)]
    if unknown := sorted(set(values) - set(names)):
        raise InvalidInput.of(f"{path}.{unknown[0]}", f"is not known; use {', '.join(names)}")
    return kind(**values)
