"""Requests that nobody means well with, made at random from the contract itself."""

import random
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import CAMPAIGN, request_id

METHODS = list(rpc.DESCRIPTOR.services_by_name["RelabelService"].methods)
TEXTS = [
    "", "\x00", "a\x00b", "x" * 20_000, "campaigns/", "campaigns/test/", "campaigns/../test", "💥",
    "' OR 1=1 --", "%s%n", "../../etc/passwd", "\u202e", "\r\n", "9" * 400, "-1", "NaN", "spam",
    "0x7f", "s3://", "file:///", "campaigns/TEST", "e" * 63, "AAAA====", "\ud7ff", "null", "{}",
]  # fmt: skip
INTEGERS = [0, 1, -1, 2**31 - 1, -(2**31), 1000, 1001, 7]
DOUBLES = [0.0, -1.0, 1e308, float("nan"), float("inf"), 0.5, 2.0]
MAX_DEPTH = 4


def hostile_request(chance: random.Random, method: MethodDescriptor) -> Message:
    """A request whose fields are now right, now wrong, so that each check is reached."""
    request = message_factory.GetMessageClass(method.input_type)()
    _fill(chance, request, depth=0)
    named = f"{CAMPAIGN}/items/0" if method.name == "ReadItem" else CAMPAIGN
    for name, right in (("name", named), ("parent", CAMPAIGN), ("request_id", request_id())):
        if name in method.input_type.fields_by_name and chance.random() < 0.8:
            setattr(request, name, right)
    return request


def hostile_bytes(chance: random.Random, method: MethodDescriptor) -> bytes:
    """The bytes of such a request, with some of them changed."""
    encoded = bytearray(hostile_request(chance, method).SerializeToString())
    for _ in range(chance.randint(0, 4)):
        start = chance.randint(0, len(encoded))
        encoded[start : start + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 3))
    return bytes(encoded)


def _fill(chance: random.Random, message: Message, *, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.4 or (field.message_type and depth >= MAX_DEPTH):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[chance.choice(TEXTS[:8])] = chance.choice(TEXTS[:8])
        elif field.is_repeated:
            for _ in range(chance.choice([1, 2, 5])):
                _append(chance, getattr(message, field.name), field, depth)
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            _fill(chance, getattr(message, field.name), depth=depth + 1)
        else:
            setattr(message, field.name, _value(chance, field))


def _append(chance: random.Random, values: Any, field: Any, depth: int) -> None:
    if field.message_type:
        _fill(chance, values.add(), depth=depth + 1)
    else:
        values.append(_value(chance, field))


def _value(chance: random.Random, field: Any) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text if field.type == FieldDescriptor.TYPE_STRING else text.encode()
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice(DOUBLES)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    wide = kind == FieldDescriptor.CPPTYPE_INT64
    return chance.choice([*INTEGERS, 2**63 - 1, -(2**63)] if wide else INTEGERS)
