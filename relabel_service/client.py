"""The Python client: lease, extend, submit.

    with Client("localhost:9000", labeler="ann") as client:
        with client.leases("campaigns/demo", max_items=20) as leases:
            for lease in leases:
                client.submit("campaigns/demo", [confirm(lease)])

Every call has a deadline. UNAVAILABLE is retried, and RESOURCE_EXHAUSTED where it
says for how long, with the same request_id, so that a call whose response was lost
is not done twice.
"""

import copy
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from google.protobuf.duration_pb2 import Duration

from relabel_service.errors import DeadlineExceeded, InvalidInput, NotFound, Unavailable, error_of
from relabel_service.v1 import campaigns_pb2, items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.admin_calls import AdminCalls, new_request_id
from relabel_service.wire.channel import Channel
from relabel_service.wire.credentials import Tls
from relabel_service.wire.names import campaign_id, campaign_name

DEFAULT_DEADLINE_S = 30.0
MAX_ATTEMPTS = 8
POLL_S = 0.2  # while a campaign is imported or deleted
LONGEST_WAIT_S = 45.0  # of one call: gateways cut off what is silent for 60 s by default
READ_S = 600.0  # and so does a large item over a slow line


class Client(AdminCalls):
    """Synchronous. One labeler a client; safe to use from several threads.

    token proves who labels; where the service has no keys, labeler names them.
    tls: encrypt, as a gateway expects; whom to trust is the system's root certificates, or those
    of ca_file. client_certificate and client_key: what this client shows of itself. All are PEM
    files. A token is sent in clear text within this machine only, and elsewhere where
    allow_plaintext_token says so.
    deadline_s bounds one attempt of one call. Calls raise RelabelError's family. A campaign is
    named by its id, with or without `campaigns/` before it.
    """

    def __init__(
        self,
        address: str,
        *,
        labeler: str = "",
        token: str = "",
        tls: bool = False,
        ca_file: str = "",
        client_certificate: str = "",
        client_key: str = "",
        allow_plaintext_token: bool = False,
        deadline_s: float = DEFAULT_DEADLINE_S,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        """Raises InvalidInput for files that cannot be read, and for a token without tls."""
        if not tls and (ca_file or client_certificate or client_key):
            raise InvalidInput.of("tls", "is off, and certificates are named; set it")
        self._channel = Channel(
            address,
            labeler=labeler,
            token=token,
            tls=Tls(ca_file, client_certificate, client_key) if tls else None,
            allow_plaintext_token=allow_plaintext_token,
            deadline_s=deadline_s,
            max_attempts=max_attempts,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def on_behalf_of(self, labeler: str) -> "Client":
        """A client whose calls are the labeler's: for frontends, whose token names the labelers.

        It shares this one's connection, and ends with it. Calls raise PermissionDenied where the
        token is not a frontend's, or names others.
        """
        if not labeler:
            raise InvalidInput.of("labeler", "is empty; name for whom to answer")
        client = copy.copy(self)
        client._channel = self._channel.on_behalf_of(labeler)
        return client

    def create_campaign(
        self,
        campaign: str,
        *,
        findings_uri: str,
        run_id: str,
        votes_required: int = 1,
        lease_duration_s: float | None = None,
        **settings: Any,
    ) -> campaigns_pb2.Campaign:
        """Return when its items can be leased. settings: other fields of Campaign.

        Raises what stopped the import, which the service tries again by itself.
        """
        message = campaigns_pb2.Campaign(
            findings_uri=findings_uri,
            run_id=run_id,
            votes_required=votes_required,
            lease_duration=_duration(lease_duration_s),
            **settings,
        )
        request = rpc.CreateCampaignRequest(
            campaign_id=campaign_id(campaign), campaign=message, request_id=new_request_id()
        )
        response: rpc.CreateCampaignResponse = self._channel.call("CreateCampaign", request)
        created = response.campaign
        importing = campaigns_pb2.CAMPAIGN_STATE_IMPORTING
        while created.state == importing and not created.HasField("failure"):
            time.sleep(POLL_S)
            created = self.get_campaign(created.name)
        if created.HasField("failure"):
            raise error_of(created.failure.reason, created.failure.message)
        return created

    def get_campaign(self, campaign: str) -> campaigns_pb2.Campaign:
        response: rpc.GetCampaignResponse = self._channel.call(
            "GetCampaign", rpc.GetCampaignRequest(name=campaign_name(campaign))
        )
        return response.campaign

    def list_campaigns(self) -> Iterator[campaigns_pb2.Campaign]:
        """All of them, page by page."""
        token = ""
        while True:
            response: rpc.ListCampaignsResponse = self._channel.call(
                "ListCampaigns", rpc.ListCampaignsRequest(page_token=token)
            )
            yield from response.campaigns
            token = response.next_page_token
            if not token:
                return

    def lease(
        self,
        campaign: str,
        *,
        max_items: int = 1,
        duration_s: float | None = None,
        wait_s: float = 0.0,
        adjudicate: bool = False,
        whole_items: bool = True,
    ) -> list[leases_pb2.Lease]:
        """Worst first; empty when nothing is free for this labeler within wait_s.

        Items that others lease or answer at this moment are free for nobody (PostgreSQL), though
        they may want more votes: only after a wait is nothing left. A long one is asked for in
        pieces, which gateways let pass.
        adjudicate: take items whose labelers escalated them or do not agree.
        whole_items: read those that were too large for the response; without it, call read_item.
        """
        leases: list[leases_pb2.Lease] = []
        for piece_s in _pieces(wait_s):
            request = rpc.LeaseItemsRequest(
                parent=campaign_name(campaign),
                max_items=max_items,
                lease_duration=_duration(duration_s),
                request_id=new_request_id(),
                wait=_duration(piece_s),
                adjudicate=adjudicate,
            )
            response: rpc.LeaseItemsResponse = self._channel.call(
                "LeaseItems", request, extra_s=piece_s
            )
            leases = list(self._whole(response.leases) if whole_items else response.leases)
            if response.leases:
                break
        return leases

    def stream_leases(
        self, campaign: str, *, max_outstanding: int, duration_s: float | None = None
    ) -> Iterator[leases_pb2.Lease]:
        """Leases as they become free, while this labeler has fewer than max_outstanding.

        Ends with the campaign, or when the caller closes it. A lost connection is opened again;
        then come the leases that the lost one did not bring, and no lease comes twice. Leases that
        were in force before count as outstanding and do not come; those that the same labeler
        takes elsewhere meanwhile may.
        """
        request = rpc.StreamLeasesRequest(
            parent=campaign_name(campaign),
            max_outstanding=max_outstanding,
            lease_duration=_duration(duration_s),
        )
        seen: set[str] = {lease.token for lease in self.list_leases(campaign)}

        def missed() -> Iterator[leases_pb2.Lease]:
            in_force = list(self.list_leases(campaign))
            seen.intersection_update(lease.token for lease in in_force)
            yield from in_force

        def leases(is_again: bool) -> Generator[leases_pb2.Lease | None, None, None]:
            if is_again:
                yield from missed()
            for response in self._channel.follow("StreamLeases", request):
                yield from self._whole(response.leases)
                if response.heartbeat:
                    yield None
                    if is_again:  # the service may not know yet that the lost stream is lost
                        yield from missed()

        for lease in self._channel.reconnecting(leases):
            if lease.token not in seen:
                seen.add(lease.token)
                yield lease

    def list_leases(self, campaign: str) -> Iterator[leases_pb2.Lease]:
        """This labeler's leases in force, with their items: to go on with after a restart."""
        token = ""
        while True:
            request = rpc.ListLeasesRequest(parent=campaign_name(campaign), page_token=token)
            response: rpc.ListLeasesResponse = self._channel.call("ListLeases", request)
            yield from self._whole(response.leases)
            token = response.next_page_token
            if not token:
                return

    def read_item(self, name: str) -> items_pb2.Item:
        """An item that this labeler has a lease on, however large. Raises NotFound without one.

        For leases that were taken without whole_items and whose item has num_bytes.
        """
        request = rpc.ReadItemRequest(name=name)

        def read() -> bytes:
            responses = self._channel.stream("ReadItem", request, extra_s=READ_S)
            return b"".join(response.chunk for response in responses)

        return items_pb2.Item.FromString(self._channel.with_retries(read))

    def _whole(self, leases: Iterable[leases_pb2.Lease]) -> Iterator[leases_pb2.Lease]:
        """The leases with all of their items; those lost while others were read are left out."""
        for lease in leases:
            if lease.item.num_bytes:
                try:
                    lease.item.CopyFrom(self.read_item(lease.item.name))
                except NotFound:
                    continue
            yield lease

    def extend(
        self, campaign: str, tokens: Sequence[str], *, duration_s: float | None = None
    ) -> list[str]:
        """The tokens whose leases are still in force."""
        request = rpc.ExtendLeasesRequest(
            parent=campaign_name(campaign),
            tokens=tokens,
            lease_duration=_duration(duration_s),
            request_id=new_request_id(),
        )
        response: rpc.ExtendLeasesResponse = self._channel.call("ExtendLeases", request)
        return [outcome.token for outcome in response.outcomes if outcome.HasField("expire_time")]

    def release(self, campaign: str, tokens: Sequence[str], *, delay_s: float = 0.0) -> int:
        """How many of the leases were still in force. The items are offered again after delay_s."""
        request = rpc.ReleaseLeasesRequest(
            parent=campaign_name(campaign),
            tokens=tokens,
            delay=_duration(delay_s),
            request_id=new_request_id(),
        )
        response: rpc.ReleaseLeasesResponse = self._channel.call("ReleaseLeases", request)
        return response.num_released

    def submit(
        self, campaign: str, results: Sequence[leases_pb2.Result], *, request_id: str = ""
    ) -> list[leases_pb2.ResultOutcome]:
        """What became of each result; ACCEPTED means durable.

        A result with `replaces` set corrects the one that was accepted under its token before.
        request_id: a UUID of the caller's, which sends the same results again and gets the first
        call's outcome, after a restart too; without it, each call has its own.
        """
        request = rpc.SubmitResultsRequest(
            parent=campaign_name(campaign),
            results=results,
            request_id=request_id or new_request_id(),
        )
        response: rpc.SubmitResultsResponse = self._channel.call("SubmitResults", request)
        return list(response.outcomes)

    def stats(self, campaign: str) -> campaigns_pb2.CampaignStats:
        response: rpc.GetCampaignStatsResponse = self._channel.call(
            "GetCampaignStats", rpc.GetCampaignStatsRequest(name=campaign_name(campaign))
        )
        return response.stats

    def watch(self, campaign: str) -> Iterator[rpc.WatchCampaignResponse]:
        """The campaign and its counts, now and after each change, until it is finalized.

        A lost connection is opened again.
        """
        request = rpc.WatchCampaignRequest(name=campaign_name(campaign))

        def responses(_: bool) -> Generator[rpc.WatchCampaignResponse | None, None, None]:
            for response in self._channel.follow("WatchCampaign", request):
                if response.heartbeat:
                    yield None
                elif response.HasField("campaign"):  # otherwise an error follows
                    yield response

        last = None
        for response in self._channel.reconnecting(responses):
            if response != last:
                yield response
            last = response

    def delete_campaign(self, campaign: str, *, force: bool = False, etag: str = "") -> None:
        """Return when the queue keeps nothing of it. force: even if answers are unpublished."""
        name = campaign_name(campaign)
        request = rpc.DeleteCampaignRequest(
            name=name, force=force, etag=etag, request_id=new_request_id()
        )
        self._channel.call("DeleteCampaign", request)
        with suppress(NotFound):
            while True:
                self.get_campaign(name)
                time.sleep(POLL_S)

    @contextmanager
    def leases(
        self,
        campaign: str,
        *,
        max_items: int = 1,
        duration_s: float | None = None,
        adjudicate: bool = False,
    ) -> Iterator[list[leases_pb2.Lease]]:
        """Leases that are extended in the background, and released at the end if not submitted."""
        leases = self.lease(
            campaign, max_items=max_items, duration_s=duration_s, adjudicate=adjudicate
        )
        if not leases:
            yield leases
            return
        tokens = [lease.token for lease in leases]
        ended = threading.Event()
        keeper = threading.Thread(
            target=self._keep, args=(campaign, leases, duration_s, ended), daemon=True
        )
        keeper.start()
        try:
            yield leases
        finally:
            ended.set()
            keeper.join()
            self.release(campaign, tokens)

    def _keep(
        self,
        campaign: str,
        leases: Sequence[leases_pb2.Lease],
        duration_s: float | None,
        ended: threading.Event,
    ) -> None:
        """Extend at a third of the time left, so that two extensions may fail."""
        left_s = leases[0].expire_time.seconds - time.time()
        tokens = [lease.token for lease in leases]
        while tokens and not ended.wait(max(left_s / 3, 0.2)):
            try:
                tokens = self.extend(campaign, tokens, duration_s=duration_s)
            except (Unavailable, DeadlineExceeded):
                continue  # the lease may outlive the outage; submitting tells the truth


def _pieces(wait_s: float) -> list[float]:
    """Waits of at most LONGEST_WAIT_S, one after the other."""
    num_whole = int(max(wait_s, 0) // LONGEST_WAIT_S)
    left_s = wait_s - num_whole * LONGEST_WAIT_S
    return [LONGEST_WAIT_S] * num_whole + ([left_s] if left_s or not num_whole else [])


def _duration(duration_s: float | None) -> Duration | None:
    if duration_s is None:
        return None
    return Duration(seconds=int(duration_s), nanos=int(duration_s % 1 * 1e9))
