"""The check against operators' own CRDs refuses what a cluster refuses, and what it would drop."""

from typing import Any

import pytest

from tests.support.crds import errors_of, validators

COUNT = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "count": COUNT,
        "label": {"type": "string", "nullable": True},
        "type": {"type": "string", "enum": ["properties"]},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "strings": {"type": "object", "additionalProperties": {"type": "string"}},
        "nested": {"type": "array", "items": {"type": "object", "properties": {"a": COUNT}}},
    },
}
BOTH = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}, "spec": SPEC}
CRD = {
    "spec": {
        "group": "example.org",
        "names": {"kind": "Thing"},
        "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": BOTH}}}
        ],
    }
}


def errors(spec: dict[str, Any], kind: str = "Thing") -> list[str] | None:
    document = {"apiVersion": "example.org/v1", "kind": kind, "metadata": {"name": "x"}}
    return errors_of(document | {"spec": spec}, validators([CRD]))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"count": 1},
        {"count": "50%"},
        {"label": None},
        {"type": "properties"},
        {"free": {"anything": [1]}},
        {"strings": {"a": "b"}},
        {"nested": [{"a": 1}]},
    ],
)
def test_what_a_crd_allows_is_valid(more: dict[str, Any]) -> None:
    assert errors({"size": 1} | more) == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"size": 0}, "minimum"),
        ({"sizes": 1}, "sizes"),
        ({"count": 1.5}, "1.5"),
        ({"label": 1}, "1"),
        ({"strings": {"a": 1}}, "1"),
        ({"nested": [{"b": 1}]}, "'b'"),
        ({"type": "object"}, "object"),
    ],
)
def test_what_it_refuses_or_would_drop_is_told(more: dict[str, Any], says: str) -> None:
    told = errors({"size": 1} | more)
    assert told
    assert says in told[0]


def test_other_kinds_are_not_judged() -> None:
    assert errors({"size": 1}, kind="Other") is None
