import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from relabel_service.v1 import campaigns_pb2 as _campaigns_pb2
from relabel_service.v1 import leases_pb2 as _leases_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateCampaignRequest(_message.Message):
    __slots__ = ("campaign_id", "campaign", "request_id")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    campaign: _campaigns_pb2.Campaign
    request_id: str
    def __init__(self, campaign_id: _Optional[str] = ..., campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class GetCampaignRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class ListCampaignsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCampaignsResponse(_message.Message):
    __slots__ = ("campaigns", "next_page_token")
    CAMPAIGNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    campaigns: _containers.RepeatedCompositeFieldContainer[_campaigns_pb2.Campaign]
    next_page_token: str
    def __init__(self, campaigns: _Optional[_Iterable[_Union[_campaigns_pb2.Campaign, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class LeaseItemsRequest(_message.Message):
    __slots__ = ("parent", "max_items", "lease_duration", "request_id", "wait", "adjudicate")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    ADJUDICATE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    max_items: int
    lease_duration: _duration_pb2.Duration
    request_id: str
    wait: _duration_pb2.Duration
    adjudicate: bool
    def __init__(self, parent: _Optional[str] = ..., max_items: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., adjudicate: _Optional[bool] = ...) -> None: ...

class LeaseItemsResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[_leases_pb2.Lease]
    def __init__(self, leases: _Optional[_Iterable[_Union[_leases_pb2.Lease, _Mapping]]] = ...) -> None: ...

class StreamLeasesRequest(_message.Message):
    __slots__ = ("parent", "max_outstanding", "lease_duration", "adjudicate")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    ADJUDICATE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    max_outstanding: int
    lease_duration: _duration_pb2.Duration
    adjudicate: bool
    def __init__(self, parent: _Optional[str] = ..., max_outstanding: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., adjudicate: _Optional[bool] = ...) -> None: ...

class StreamLeasesResponse(_message.Message):
    __slots__ = ("leases", "heartbeat")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[_leases_pb2.Lease]
    heartbeat: bool
    def __init__(self, leases: _Optional[_Iterable[_Union[_leases_pb2.Lease, _Mapping]]] = ..., heartbeat: _Optional[bool] = ...) -> None: ...

class ReadItemRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReadItemResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ("leases", "next_page_token")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[_leases_pb2.Lease]
    next_page_token: str
    def __init__(self, leases: _Optional[_Iterable[_Union[_leases_pb2.Lease, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExtendLeasesRequest(_message.Message):
    __slots__ = ("parent", "tokens", "lease_duration", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    tokens: _containers.RepeatedScalarFieldContainer[str]
    lease_duration: _duration_pb2.Duration
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., tokens: _Optional[_Iterable[str]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ExtendLeasesResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[_leases_pb2.ExtendOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[_leases_pb2.ExtendOutcome, _Mapping]]] = ...) -> None: ...

class ReleaseLeasesRequest(_message.Message):
    __slots__ = ("parent", "tokens", "request_id", "delay")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    tokens: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    delay: _duration_pb2.Duration
    def __init__(self, parent: _Optional[str] = ..., tokens: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReleaseLeasesResponse(_message.Message):
    __slots__ = ("num_released",)
    NUM_RELEASED_FIELD_NUMBER: _ClassVar[int]
    num_released: int
    def __init__(self, num_released: _Optional[int] = ...) -> None: ...

class SubmitResultsRequest(_message.Message):
    __slots__ = ("parent", "results", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    results: _containers.RepeatedCompositeFieldContainer[_leases_pb2.Result]
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., results: _Optional[_Iterable[_Union[_leases_pb2.Result, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitResultsResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[_leases_pb2.ResultOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[_leases_pb2.ResultOutcome, _Mapping]]] = ...) -> None: ...

class GetCampaignStatsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCampaignStatsResponse(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: _campaigns_pb2.CampaignStats
    def __init__(self, stats: _Optional[_Union[_campaigns_pb2.CampaignStats, _Mapping]] = ...) -> None: ...

class WatchCampaignRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchCampaignResponse(_message.Message):
    __slots__ = ("campaign", "stats", "heartbeat")
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    stats: _campaigns_pb2.CampaignStats
    heartbeat: bool
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ..., stats: _Optional[_Union[_campaigns_pb2.CampaignStats, _Mapping]] = ..., heartbeat: _Optional[bool] = ...) -> None: ...

class PauseCampaignRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class ResumeCampaignRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class CloseCampaignRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CloseCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class ReopenCampaignRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReopenCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class ReopenItemsRequest(_message.Message):
    __slots__ = ("parent", "items", "row_ids", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    items: _containers.RepeatedScalarFieldContainer[str]
    row_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., items: _Optional[_Iterable[str]] = ..., row_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReopenItemsResponse(_message.Message):
    __slots__ = ("num_items", "num_answers")
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NUM_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    num_items: int
    num_answers: int
    def __init__(self, num_items: _Optional[int] = ..., num_answers: _Optional[int] = ...) -> None: ...

class RequeueSkippedItemsRequest(_message.Message):
    __slots__ = ("parent", "items", "row_ids", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    items: _containers.RepeatedScalarFieldContainer[str]
    row_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., items: _Optional[_Iterable[str]] = ..., row_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RequeueSkippedItemsResponse(_message.Message):
    __slots__ = ("num_items",)
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    num_items: int
    def __init__(self, num_items: _Optional[int] = ...) -> None: ...

class FinalizeCampaignRequest(_message.Message):
    __slots__ = ("name", "results_uri", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESULTS_URI_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    results_uri: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., results_uri: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class FinalizeCampaignResponse(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaigns_pb2.Campaign
    def __init__(self, campaign: _Optional[_Union[_campaigns_pb2.Campaign, _Mapping]] = ...) -> None: ...

class ExportAnswersRequest(_message.Message):
    __slots__ = ("name", "results_uri", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESULTS_URI_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    results_uri: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., results_uri: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ExportAnswersResponse(_message.Message):
    __slots__ = ("num_answers", "num_written")
    NUM_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NUM_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    num_answers: int
    num_written: int
    def __init__(self, num_answers: _Optional[int] = ..., num_written: _Optional[int] = ...) -> None: ...

class DeleteCampaignRequest(_message.Message):
    __slots__ = ("name", "force", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., force: _Optional[bool] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteCampaignResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ForceReleaseRequest(_message.Message):
    __slots__ = ("parent", "labeler", "items", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    labeler: str
    items: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., labeler: _Optional[str] = ..., items: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ForceReleaseResponse(_message.Message):
    __slots__ = ("num_released",)
    NUM_RELEASED_FIELD_NUMBER: _ClassVar[int]
    num_released: int
    def __init__(self, num_released: _Optional[int] = ...) -> None: ...

class ListAdminActionsRequest(_message.Message):
    __slots__ = ("parent", "start_time", "who", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    start_time: _timestamp_pb2.Timestamp
    who: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., who: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAdminActionsResponse(_message.Message):
    __slots__ = ("actions", "next_page_token")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[AdminAction]
    next_page_token: str
    def __init__(self, actions: _Optional[_Iterable[_Union[AdminAction, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AdminAction(_message.Message):
    __slots__ = ("time", "who", "method", "campaign", "request_id", "request", "outcome", "end_time")
    TIME_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    who: str
    method: str
    campaign: str
    request_id: str
    request: str
    outcome: str
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., who: _Optional[str] = ..., method: _Optional[str] = ..., campaign: _Optional[str] = ..., request_id: _Optional[str] = ..., request: _Optional[str] = ..., outcome: _Optional[str] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
