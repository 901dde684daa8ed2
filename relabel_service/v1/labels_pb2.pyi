from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_KIND_UNSPECIFIED: _ClassVar[TaskKind]
    TASK_KIND_TEXT_CLASSIFICATION: _ClassVar[TaskKind]
    TASK_KIND_IMAGE_CLASSIFICATION: _ClassVar[TaskKind]
    TASK_KIND_AUDIO_CLASSIFICATION: _ClassVar[TaskKind]
    TASK_KIND_TOKEN_CLASSIFICATION: _ClassVar[TaskKind]
    TASK_KIND_OBJECT_DETECTION: _ClassVar[TaskKind]
    TASK_KIND_SEQUENCE_GENERATION: _ClassVar[TaskKind]
    TASK_KIND_CLICK_THROUGH_RATE: _ClassVar[TaskKind]
TASK_KIND_UNSPECIFIED: TaskKind
TASK_KIND_TEXT_CLASSIFICATION: TaskKind
TASK_KIND_IMAGE_CLASSIFICATION: TaskKind
TASK_KIND_AUDIO_CLASSIFICATION: TaskKind
TASK_KIND_TOKEN_CLASSIFICATION: TaskKind
TASK_KIND_OBJECT_DETECTION: TaskKind
TASK_KIND_SEQUENCE_GENERATION: TaskKind
TASK_KIND_CLICK_THROUGH_RATE: TaskKind

class Label(_message.Message):
    __slots__ = ("class_label", "spans", "boxes", "sequence", "click")
    CLASS_LABEL_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CLICK_FIELD_NUMBER: _ClassVar[int]
    class_label: ClassLabel
    spans: SpansLabel
    boxes: BoxesLabel
    sequence: SequenceLabel
    click: ClickLabel
    def __init__(self, class_label: _Optional[_Union[ClassLabel, _Mapping]] = ..., spans: _Optional[_Union[SpansLabel, _Mapping]] = ..., boxes: _Optional[_Union[BoxesLabel, _Mapping]] = ..., sequence: _Optional[_Union[SequenceLabel, _Mapping]] = ..., click: _Optional[_Union[ClickLabel, _Mapping]] = ...) -> None: ...

class ClassLabel(_message.Message):
    __slots__ = ("class_name",)
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    def __init__(self, class_name: _Optional[str] = ...) -> None: ...

class SpansLabel(_message.Message):
    __slots__ = ("spans",)
    SPANS_FIELD_NUMBER: _ClassVar[int]
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start", "end", "class_name")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    class_name: str
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., class_name: _Optional[str] = ...) -> None: ...

class BoxesLabel(_message.Message):
    __slots__ = ("boxes",)
    BOXES_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[Box]
    def __init__(self, boxes: _Optional[_Iterable[_Union[Box, _Mapping]]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x_min", "y_min", "x_max", "y_max", "class_name")
    X_MIN_FIELD_NUMBER: _ClassVar[int]
    Y_MIN_FIELD_NUMBER: _ClassVar[int]
    X_MAX_FIELD_NUMBER: _ClassVar[int]
    Y_MAX_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    class_name: str
    def __init__(self, x_min: _Optional[float] = ..., y_min: _Optional[float] = ..., x_max: _Optional[float] = ..., y_max: _Optional[float] = ..., class_name: _Optional[str] = ...) -> None: ...

class SequenceLabel(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ClickLabel(_message.Message):
    __slots__ = ("clicked",)
    CLICKED_FIELD_NUMBER: _ClassVar[int]
    clicked: bool
    def __init__(self, clicked: _Optional[bool] = ...) -> None: ...
