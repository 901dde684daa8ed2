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

class SkipPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SKIP_POLICY_UNSPECIFIED: _ClassVar[SkipPolicy]
    SKIP_POLICY_OTHERS: _ClassVar[SkipPolicy]
    SKIP_POLICY_NEVER_AGAIN: _ClassVar[SkipPolicy]

class ItemOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITEM_ORDER_UNSPECIFIED: _ClassVar[ItemOrder]
    ITEM_ORDER_WORST_FIRST: _ClassVar[ItemOrder]
    ITEM_ORDER_BY_CLASS: _ClassVar[ItemOrder]
    ITEM_ORDER_ALIKE_TOGETHER: _ClassVar[ItemOrder]

class CampaignState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMPAIGN_STATE_UNSPECIFIED: _ClassVar[CampaignState]
    CAMPAIGN_STATE_ACTIVE: _ClassVar[CampaignState]
    CAMPAIGN_STATE_FINALIZED: _ClassVar[CampaignState]
    CAMPAIGN_STATE_FINALIZING: _ClassVar[CampaignState]
    CAMPAIGN_STATE_PAUSED: _ClassVar[CampaignState]
    CAMPAIGN_STATE_CLOSED: _ClassVar[CampaignState]
    CAMPAIGN_STATE_IMPORTING: _ClassVar[CampaignState]
    CAMPAIGN_STATE_DELETING: _ClassVar[CampaignState]
SKIP_POLICY_UNSPECIFIED: SkipPolicy
SKIP_POLICY_OTHERS: SkipPolicy
SKIP_POLICY_NEVER_AGAIN: SkipPolicy
ITEM_ORDER_UNSPECIFIED: ItemOrder
ITEM_ORDER_WORST_FIRST: ItemOrder
ITEM_ORDER_BY_CLASS: ItemOrder
ITEM_ORDER_ALIKE_TOGETHER: ItemOrder
CAMPAIGN_STATE_UNSPECIFIED: CampaignState
CAMPAIGN_STATE_ACTIVE: CampaignState
CAMPAIGN_STATE_FINALIZED: CampaignState
CAMPAIGN_STATE_FINALIZING: CampaignState
CAMPAIGN_STATE_PAUSED: CampaignState
CAMPAIGN_STATE_CLOSED: CampaignState
CAMPAIGN_STATE_IMPORTING: CampaignState
CAMPAIGN_STATE_DELETING: CampaignState

class Campaign(_message.Message):
    __slots__ = ("name", "task_kind", "findings_uri", "run_id", "classes", "votes_required", "lease_duration", "state", "create_time", "finalize_time", "results_uri", "etag", "num_items", "max_votes", "min_agreement", "skip_policy", "item_order", "blind_share", "gold", "audit", "num_imported", "failure", "num_answers", "num_published", "incarnation")
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
    MAX_VOTES_FIELD_NUMBER: _ClassVar[int]
    MIN_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    SKIP_POLICY_FIELD_NUMBER: _ClassVar[int]
    ITEM_ORDER_FIELD_NUMBER: _ClassVar[int]
    BLIND_SHARE_FIELD_NUMBER: _ClassVar[int]
    GOLD_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    NUM_IMPORTED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    NUM_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NUM_PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
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
    max_votes: int
    min_agreement: float
    skip_policy: SkipPolicy
    item_order: ItemOrder
    blind_share: float
    gold: Gold
    audit: Audit
    num_imported: int
    failure: Failure
    num_answers: int
    num_published: int
    incarnation: str
    def __init__(self, name: _Optional[str] = ..., task_kind: _Optional[_Union[_labels_pb2.TaskKind, str]] = ..., findings_uri: _Optional[str] = ..., run_id: _Optional[str] = ..., classes: _Optional[_Iterable[str]] = ..., votes_required: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., state: _Optional[_Union[CampaignState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finalize_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., results_uri: _Optional[str] = ..., etag: _Optional[str] = ..., num_items: _Optional[int] = ..., max_votes: _Optional[int] = ..., min_agreement: _Optional[float] = ..., skip_policy: _Optional[_Union[SkipPolicy, str]] = ..., item_order: _Optional[_Union[ItemOrder, str]] = ..., blind_share: _Optional[float] = ..., gold: _Optional[_Union[Gold, _Mapping]] = ..., audit: _Optional[_Union[Audit, _Mapping]] = ..., num_imported: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., num_answers: _Optional[int] = ..., num_published: _Optional[int] = ..., incarnation: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "message", "time")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Gold(_message.Message):
    __slots__ = ("uri", "run_id", "rate")
    URI_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    uri: str
    run_id: str
    rate: float
    def __init__(self, uri: _Optional[str] = ..., run_id: _Optional[str] = ..., rate: _Optional[float] = ...) -> None: ...

class Audit(_message.Message):
    __slots__ = ("uri", "run_id", "population")
    URI_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    POPULATION_FIELD_NUMBER: _ClassVar[int]
    uri: str
    run_id: str
    population: int
    def __init__(self, uri: _Optional[str] = ..., run_id: _Optional[str] = ..., population: _Optional[int] = ...) -> None: ...

class CampaignStats(_message.Message):
    __slots__ = ("num_items", "num_open", "num_leased", "num_done", "num_skipped", "num_escalated", "num_results", "num_changed", "labelers", "agree_shown", "agree_blind", "anchoring", "audit_errors", "errors_left", "recall")
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NUM_OPEN_FIELD_NUMBER: _ClassVar[int]
    NUM_LEASED_FIELD_NUMBER: _ClassVar[int]
    NUM_DONE_FIELD_NUMBER: _ClassVar[int]
    NUM_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    NUM_ESCALATED_FIELD_NUMBER: _ClassVar[int]
    NUM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    NUM_CHANGED_FIELD_NUMBER: _ClassVar[int]
    LABELERS_FIELD_NUMBER: _ClassVar[int]
    AGREE_SHOWN_FIELD_NUMBER: _ClassVar[int]
    AGREE_BLIND_FIELD_NUMBER: _ClassVar[int]
    ANCHORING_FIELD_NUMBER: _ClassVar[int]
    AUDIT_ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_LEFT_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    num_items: int
    num_open: int
    num_leased: int
    num_done: int
    num_skipped: int
    num_escalated: int
    num_results: int
    num_changed: int
    labelers: _containers.RepeatedCompositeFieldContainer[LabelerStats]
    agree_shown: Share
    agree_blind: Share
    anchoring: Estimate
    audit_errors: Share
    errors_left: Estimate
    recall: Estimate
    def __init__(self, num_items: _Optional[int] = ..., num_open: _Optional[int] = ..., num_leased: _Optional[int] = ..., num_done: _Optional[int] = ..., num_skipped: _Optional[int] = ..., num_escalated: _Optional[int] = ..., num_results: _Optional[int] = ..., num_changed: _Optional[int] = ..., labelers: _Optional[_Iterable[_Union[LabelerStats, _Mapping]]] = ..., agree_shown: _Optional[_Union[Share, _Mapping]] = ..., agree_blind: _Optional[_Union[Share, _Mapping]] = ..., anchoring: _Optional[_Union[Estimate, _Mapping]] = ..., audit_errors: _Optional[_Union[Share, _Mapping]] = ..., errors_left: _Optional[_Union[Estimate, _Mapping]] = ..., recall: _Optional[_Union[Estimate, _Mapping]] = ...) -> None: ...

class Share(_message.Message):
    __slots__ = ("num", "total", "low", "high")
    NUM_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    num: int
    total: int
    low: float
    high: float
    def __init__(self, num: _Optional[int] = ..., total: _Optional[int] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("value", "low", "high")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class LabelerStats(_message.Message):
    __slots__ = ("labeler", "num_results", "gold_right", "agree_others")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    NUM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    GOLD_RIGHT_FIELD_NUMBER: _ClassVar[int]
    AGREE_OTHERS_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    num_results: int
    gold_right: Share
    agree_others: Share
    def __init__(self, labeler: _Optional[str] = ..., num_results: _Optional[int] = ..., gold_right: _Optional[_Union[Share, _Mapping]] = ..., agree_others: _Optional[_Union[Share, _Mapping]] = ...) -> None: ...
