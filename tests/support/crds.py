"""Checks what k8s/ renders to against operators' own CustomResourceDefinitions, from files.

    python -m tests.support.crds ~/kuberay/ray-operator/config/crd/bases \\
        ~/gateway-api/config/crd/standard ~/prometheus-operator/example/prometheus-operator-crd

Prints each document with what is wrong with it, and exits 1 if anything is. Fields that a CRD does
not name are refused, which a cluster would drop. CEL rules are not run.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.support.manifests import KUSTOMIZATIONS, Document, render

Kind = tuple[str, str]  # apiVersion and kind
AS_THEY_ARE = {"default", "enum", "example"}  # values, not schemas


def validators(crds: Iterable[Document]) -> dict[Kind, Draft202012Validator]:
    """One for each version of each kind."""
    made = {}
    for crd in crds:
        names = crd["spec"]
        for version in names["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
            kind = (f"{names['group']}/{version['name']}", names["names"]["kind"])
            made[kind] = Draft202012Validator(schema)
    return made


def errors_of(document: Document, known: dict[Kind, Draft202012Validator]) -> list[str] | None:
    """What is wrong; None where no CRD is of its kind."""
    validator = known.get((document["apiVersion"], document["kind"]))
    if validator is None:
        return None
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def _closed(schema: Any) -> Any:
    """The JSON schema of a structural schema, where an object has the fields that it names."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: each if name in AS_THEY_ARE else _closed(each) for name, each in schema.items()}
    if "properties" in schema and isinstance(schema.get("type"), str):
        closed["properties"] = {name: _closed(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed["type"] = ["integer", "string"]
    elif schema.get("nullable"):
        closed["type"] = [schema["type"], "null"]
    return closed


def main(folders: list[str]) -> int:
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.yaml"))]
    crds = [yaml.safe_load(file.read_text("utf-8")) for file in files]
    known = validators(crd for crd in crds if crd["kind"] == "CustomResourceDefinition")
    num_wrong = 0
    for kustomization in KUSTOMIZATIONS:
        for document in render(kustomization):
            errors = errors_of(document, known)
            if errors is None:
                continue
            num_wrong += bool(errors)
            name = f"{document['kind']} {document['metadata']['name']}"
            print(f"{kustomization}: {name}: {'; '.join(errors) or 'valid'}")
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
