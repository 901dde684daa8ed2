"""Results to the service, each taken once, and why one was not taken."""

import uuid
from collections.abc import Mapping, Sequence

from relabel_service.client import Client
from relabel_service.errors import InvalidInput
from relabel_service.v1 import leases_pb2

LOST = "This answer was not counted: the item was given to somebody else meanwhile."
CLOSED = "This answer was not counted: the campaign was closed before."
ACCEPTED, CLOSED_STATUS = leases_pb2.RESULT_STATUS_ACCEPTED, leases_pb2.RESULT_STATUS_CLOSED


def submit(
    client: Client,
    campaign: str,
    results: Mapping[int, leases_pb2.Result],
    *,
    versions: Mapping[int, str],
) -> dict[int, str]:
    """Why each was not accepted, or nothing. A result that the service rules out is found by
    sending each by itself.

    versions: of what the results were made of, so that the same is sent again after a restart.
    """
    if not results:
        return {}
    numbers, sent = list(results), list(results.values())
    try:
        outcomes = client.submit(
            campaign, sent, request_id=_request_id(sent, [versions[number] for number in numbers])
        )
    except InvalidInput as error:
        if len(results) > 1:
            singles = [
                submit(client, campaign, {number: results[number]}, versions=versions)
                for number in numbers
            ]
            return {number: reason for single in singles for number, reason in single.items()}
        return {numbers[0]: "; ".join(broken.description for broken in error.violations)}
    reasons, again = {}, {}
    for number, outcome in zip(numbers, outcomes, strict=True):
        if outcome.status == ACCEPTED:
            reasons[number] = ""
        elif outcome.status == CLOSED_STATUS:
            reasons[number] = CLOSED
        elif results[number].replaces:
            reasons[number] = LOST
        else:
            # An earlier bridge may have submitted it and been killed before it knew: then there is
            # a result under this token to replace, by the same.
            again[number] = results[number]
            again[number].replaces = True
    return reasons | submit(client, campaign, again, versions=versions)


def _request_id(results: Sequence[leases_pb2.Result], versions: Sequence[str]) -> str:
    """The same for the same results of the same versions of annotations, so that a call that was
    made is not made again."""
    parts = b"".join(one.SerializeToString(deterministic=True) for one in results)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, parts.hex() + " ".join(versions)))
