import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from relabel_service.v1 import items_pb2 as _items_pb2
from relabel_service.v1 import labels_pb2 as _labels_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_CONFIRM: _ClassVar[Decision]
    DECISION_ACCEPT: _ClassVar[Decision]
    DECISION_RELABEL: _ClassVar[Decision]
    DECISION_SKIP: _ClassVar[Decision]
    DECISION_ESCALATE: _ClassVar[Decision]

class ResultStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_STATUS_UNSPECIFIED: _ClassVar[ResultStatus]
    RESULT_STATUS_ACCEPTED: _ClassVar[ResultStatus]
    RESULT_STATUS_STALE: _ClassVar[ResultStatus]
    RESULT_STATUS_CLOSED: _ClassVar[ResultStatus]
DECISION_UNSPECIFIED: Decision
DECISION_CONFIRM: Decision
DECISION_ACCEPT: Decision
DECISION_RELABEL: Decision
DECISION_SKIP: Decision
DECISION_ESCALATE: Decision
RESULT_STATUS_UNSPECIFIED: ResultStatus
RESULT_STATUS_ACCEPTED: ResultStatus
RESULT_STATUS_STALE: ResultStatus
RESULT_STATUS_CLOSED: ResultStatus

class Lease(_message.Message):
    __slots__ = ("token", "item", "expire_time", "num_earlier_attempts", "votes")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    NUM_EARLIER_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    token: str
    item: _items_pb2.Item
    expire_time: _timestamp_pb2.Timestamp
    num_earlier_attempts: int
    votes: _containers.RepeatedCompositeFieldContainer[Vote]
    def __init__(self, token: _Optional[str] = ..., item: _Optional[_Union[_items_pb2.Item, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., num_earlier_attempts: _Optional[int] = ..., votes: _Optional[_Iterable[_Union[Vote, _Mapping]]] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("decision", "label", "comment")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    label: _labels_pb2.Label
    comment: str
    def __init__(self, decision: _Optional[_Union[Decision, str]] = ..., label: _Optional[_Union[_labels_pb2.Label, _Mapping]] = ..., comment: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("token", "decision", "label", "comment", "replaces", "seconds_spent")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_SPENT_FIELD_NUMBER: _ClassVar[int]
    token: str
    decision: Decision
    label: _labels_pb2.Label
    comment: str
    replaces: bool
    seconds_spent: float
    def __init__(self, token: _Optional[str] = ..., decision: _Optional[_Union[Decision, str]] = ..., label: _Optional[_Union[_labels_pb2.Label, _Mapping]] = ..., comment: _Optional[str] = ..., replaces: _Optional[bool] = ..., seconds_spent: _Optional[float] = ...) -> None: ...

class ResultOutcome(_message.Message):
    __slots__ = ("token", "status")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    token: str
    status: ResultStatus
    def __init__(self, token: _Optional[str] = ..., status: _Optional[_Union[ResultStatus, str]] = ...) -> None: ...

class ExtendOutcome(_message.Message):
    __slots__ = ("token", "expire_time")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
