import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from relabel_service.v1 import labels_pb2 as _labels_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CampaignState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMPAIGN_STATE_UNSPECIFIED: _ClassVar[CampaignState]
    CAMPAIGN_STATE_ACTIVE: _ClassVar[CampaignState]
    CAMPAIGN_STATE_FINALIZED: _ClassVar[CampaignState]
    CAMPAIGN_STATE_FINALIZING: _ClassVar[CampaignState]
CAMPAIGN_STATE_UNSPECIFIED: CampaignState
CAMPAIGN_STATE_ACTIVE: CampaignState
CAMPAIGN_STATE_FINALIZED: CampaignState
CAMPAIGN_STATE_FINALIZING: CampaignState

class Campaign(_message.Message):
    __slots__ = ("name", "task_kind", "findings_uri", "run_id", "classes", "votes_required", "lease_duration", "state", "create_time", "finalize_time", "results_uri", "etag", "num_items")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_KIND_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_URI_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    VOTES_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    FINALIZE_TIME_FIELD_NUMBER: _ClassVar[int]
    RESULTS_URI_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    task_kind: _labels_pb2.TaskKind
    findings_uri: str
    run_id: str
    classes: _containers.RepeatedScalarFieldContainer[str]
    votes_required: int
    lease_duration: _duration_pb2.Duration
    state: CampaignState
    create_time: _timestamp_pb2.Timestamp
    finalize_time: _timestamp_pb2.Timestamp
    results_uri: str
    etag: str
    num_items: int
    def __init__(self, name: _Optional[str] = ..., task_kind: _Optional[_Union[_labels_pb2.TaskKind, str]] = ..., findings_uri: _Optional[str] = ..., run_id: _Optional[str] = ..., classes: _Optional[_Iterable[str]] = ..., votes_required: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., state: _Optional[_Union[CampaignState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finalize_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., results_uri: _Optional[str] = ..., etag: _Optional[str] = ..., num_items: _Optional[int] = ...) -> None: ...

class CampaignStats(_message.Message):
    __slots__ = ("num_items", "num_open", "num_leased", "num_done", "num_skipped", "num_escalated", "num_results", "num_changed", "labelers")
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NUM_OPEN_FIELD_NUMBER: _ClassVar[int]
    NUM_LEASED_FIELD_NUMBER: _ClassVar[int]
    NUM_DONE_FIELD_NUMBER: _ClassVar[int]
    NUM_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    NUM_ESCALATED_FIELD_NUMBER: _ClassVar[int]
    NUM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    NUM_CHANGED_FIELD_NUMBER: _ClassVar[int]
    LABELERS_FIELD_NUMBER: _ClassVar[int]
    num_items: int
    num_open: int
    num_leased: int
    num_done: int
    num_skipped: int
    num_escalated: int
    num_results: int
    num_changed: int
    labelers: _containers.RepeatedCompositeFieldContainer[LabelerStats]
    def __init__(self, num_items: _Optional[int] = ..., num_open: _Optional[int] = ..., num_leased: _Optional[int] = ..., num_done: _Optional[int] = ..., num_skipped: _Optional[int] = ..., num_escalated: _Optional[int] = ..., num_results: _Optional[int] = ..., num_changed: _Optional[int] = ..., labelers: _Optional[_Iterable[_Union[LabelerStats, _Mapping]]] = ...) -> None: ...

class LabelerStats(_message.Message):
    __slots__ = ("labeler", "num_results")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    NUM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    num_results: int
    def __init__(self, labeler: _Optional[str] = ..., num_results: _Optional[int] = ...) -> None: ...
