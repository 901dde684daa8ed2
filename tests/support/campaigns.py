"""Campaigns to test with: findings tables written as a mine run writes them."""

import atexit
import functools
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from relabel_service.server.auth import Caller
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc

CLASSES = ["ham", "spam"]
CAMPAIGN = "campaigns/test"
ADMIN = Caller("admin", frozenset({"admin"}))


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def request_id() -> str:
    return str(uuid.uuid4())


def finding(rank: int, **other: Any) -> dict[str, Any]:
    return {
        "run_id": "run",
        "rank": rank,
        "id": f"row-{rank}",
        "unit": "",
        "content": f"text {rank}",
        "human_label": "ham",
        "suggestions": [{"label": "spam", "probability": 0.9}],
        "suspicion": max(0.9 - rank / 1000, 0.0),
        "signals": [("p_label", 0.1)],
        "reason": "the model says spam",
        "task": "text_classification",
        "classes": CLASSES,
    } | other


def write_findings(
    folder: Path, num_items: int, *, metadata: Mapping[str, str] | None = None, **other: Any
) -> str:
    """other: fields that every finding has instead of its own."""
    table = folder / "findings"
    if not other and metadata is None and not table.exists():
        shutil.copytree(_usual_findings(num_items), table)
    else:
        _append_findings(str(table), num_items, metadata, **other)
    return str(table)


@functools.cache
def _usual_findings(num_items: int) -> Path:
    """A table that hundreds of tests begin with a copy of."""
    folder = Path(tempfile.mkdtemp(prefix="relabel-findings-"))
    atexit.register(shutil.rmtree, folder)
    _append_findings(str(folder / "findings"), num_items, None)
    return folder / "findings"


def _append_findings(
    uri: str, num_items: int, metadata: Mapping[str, str] | None, **other: Any
) -> None:
    findings = [finding(rank, **other) for rank in range(num_items)]
    rows = pa.Table.from_pylist(findings, schemas.FINDINGS)
    delta.append_once(uri, rows, app_id="run", metadata=metadata)


def create_request(findings_uri: str, **settings: Any) -> rpc.CreateCampaignRequest:
    return rpc.CreateCampaignRequest(
        campaign_id="test",
        campaign=campaigns_pb2.Campaign(findings_uri=findings_uri, run_id="run", **settings),
        request_id=request_id(),
    )
