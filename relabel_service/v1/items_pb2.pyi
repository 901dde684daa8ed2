from relabel_service.v1 import labels_pb2 as _labels_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PixelFrame(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_FRAME_UNSPECIFIED: _ClassVar[PixelFrame]
    PIXEL_FRAME_UPRIGHT: _ClassVar[PixelFrame]
PIXEL_FRAME_UNSPECIFIED: PixelFrame
PIXEL_FRAME_UPRIGHT: PixelFrame

class Item(_message.Message):
    __slots__ = ("name", "row_id", "unit", "content", "human_label", "suggestions", "suspicion", "rank", "reason", "num_bytes", "preferred_label", "fingerprint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    HUMAN_LABEL_FIELD_NUMBER: _ClassVar[int]
    SUGGESTIONS_FIELD_NUMBER: _ClassVar[int]
    SUSPICION_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_LABEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    row_id: str
    unit: str
    content: Content
    human_label: _labels_pb2.Label
    suggestions: _containers.RepeatedCompositeFieldContainer[Suggestion]
    suspicion: float
    rank: int
    reason: str
    num_bytes: int
    preferred_label: _labels_pb2.Label
    fingerprint: str
    def __init__(self, name: _Optional[str] = ..., row_id: _Optional[str] = ..., unit: _Optional[str] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., human_label: _Optional[_Union[_labels_pb2.Label, _Mapping]] = ..., suggestions: _Optional[_Iterable[_Union[Suggestion, _Mapping]]] = ..., suspicion: _Optional[float] = ..., rank: _Optional[int] = ..., reason: _Optional[str] = ..., num_bytes: _Optional[int] = ..., preferred_label: _Optional[_Union[_labels_pb2.Label, _Mapping]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class Suggestion(_message.Message):
    __slots__ = ("label", "probability")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    label: _labels_pb2.Label
    probability: float
    def __init__(self, label: _Optional[_Union[_labels_pb2.Label, _Mapping]] = ..., probability: _Optional[float] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("text", "image", "audio", "tokens", "fields")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    text: TextContent
    image: MediaContent
    audio: MediaContent
    tokens: TokensContent
    fields: FieldsContent
    def __init__(self, text: _Optional[_Union[TextContent, _Mapping]] = ..., image: _Optional[_Union[MediaContent, _Mapping]] = ..., audio: _Optional[_Union[MediaContent, _Mapping]] = ..., tokens: _Optional[_Union[TokensContent, _Mapping]] = ..., fields: _Optional[_Union[FieldsContent, _Mapping]] = ...) -> None: ...

class TextContent(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class MediaContent(_message.Message):
    __slots__ = ("data", "uri", "media_type", "pixel_frame")
    DATA_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FRAME_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    uri: str
    media_type: str
    pixel_frame: PixelFrame
    def __init__(self, data: _Optional[bytes] = ..., uri: _Optional[str] = ..., media_type: _Optional[str] = ..., pixel_frame: _Optional[_Union[PixelFrame, str]] = ...) -> None: ...

class TokensContent(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class FieldsContent(_message.Message):
    __slots__ = ("fields",)
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.ScalarMap[str, str]
    def __init__(self, fields: _Optional[_Mapping[str, str]] = ...) -> None: ...
