"""Whatever a caller sends, an error is the caller's fault."""

import base64
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf.descriptor import MethodDescriptor

from relabel_service.errors import RelabelError
from relabel_service.server.auth import EVERYBODY, Caller, check_allowed
from relabel_service.server.rate_limits import Limits
from relabel_service.server.validation import campaign_of, check_message
from relabel_service.wire.errors import to_wire
from tests.conftest import Start
from tests.support.hostile import METHODS, hostile_request

NUM_REQUESTS = 100  # of each method, on each store
STEPS = {"ReadItem": "read_item", "StreamLeases": "next_leases", "WatchCampaign": "look"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_hostile_requests_are_the_callers_fault(
    start: Start, method: MethodDescriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # results may be asked for at any address, relative ones too
    service = start()
    chance = random.Random(method.name)
    call = getattr(service, STEPS.get(method.name, method.name))
    caller = Caller("mallory", EVERYBODY)
    for _ in range(NUM_REQUESTS):
        request: Any = hostile_request(chance, method)
        try:
            check_message(request, method.name, Limits())
            check_allowed(caller, method.name, campaign_of(request))
            if method.name == "WatchCampaign":  # the same look serves all who watch
                call(request.name).shown_to(caller)
            else:
                call(request, caller)
        except RelabelError as error:
            check_travels(error)


def check_travels(error: RelabelError) -> None:
    """It has a code, and fits the trailers that gRPC takes by default."""
    _, message, details = to_wire(error)
    assert len(quote(message)) + len(base64.b64encode(details)) < 8000
