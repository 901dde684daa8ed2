"""Checks a document against the schema of its kind, refusing every field that it lacks.

Kubernetes' own kinds and the pod templates and services inside KubeRay's: the published
schemas that kubernetes-validate carries. KubeRay's, the Prometheus operator's and the Gateway
API's: kuberay_v1_7.json and custom_kinds.json beside this file, which say what they cover.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from tests.support.manifests import Document

CUSTOM = json.loads(Path(__file__).with_name("custom_kinds.json").read_text("utf-8"))
KUBERAY = json.loads(Path(__file__).with_name("kuberay_v1_7.json").read_text("utf-8"))
# The oldest Kubernetes whose ReadWriteOncePod is stable, and the newest with schemas here.
KUBERNETES_VERSIONS = ("1.29", "1.37")


def errors_of(document: Document, *, version: str) -> list[str]:
    """What is wrong with a document on a Kubernetes version; empty when it is valid."""
    for schemas in (KUBERAY, CUSTOM):
        if document["kind"] not in schemas["$defs"]:
            continue
        schema = schemas["$defs"][document["kind"]]
        validator = _validator(version)({**schema, "$defs": schemas["$defs"]})
        return [f"{e.json_path}: {e.message}" for e in validator.iter_errors(document)]
    return [f"{e.json_path}: {e.message}" for e in _kubernetes_errors(document, version)]


def _validator(version: str) -> Any:
    def embedded(_: Validator, kind: str, value: Any, __: Any) -> Iterator[ValidationError]:
        return _kubernetes_errors(_whole(kind, value), version)

    return extend(Draft202012Validator, {"kubernetes": embedded})  # type: ignore[no-untyped-call]


def _whole(kind: str, value: Any) -> Document:
    """An object that the API server would take, holding the embedded value."""
    if kind == "PodTemplateSpec":
        return {"apiVersion": "v1", "kind": "PodTemplate", "template": value}
    if kind.startswith("Container."):
        container = {"name": "x", "image": "x", kind.removeprefix("Container."): value}
        return _whole("PodTemplateSpec", {"spec": {"containers": [container]}})
    return {"apiVersion": "v1", "kind": kind, **value}


def _kubernetes_errors(document: Document, version: str) -> Iterator[ValidationError]:
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield ValidationError(error.message, path=error.absolute_path)
