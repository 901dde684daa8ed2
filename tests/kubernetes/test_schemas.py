"""Everything under k8s/ renders and is valid; and what is wrong would be found."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.support.kubernetes_schemas import KUBERNETES_VERSIONS, errors_of
from tests.support.manifests import (
    KUSTOMIZATIONS,
    Document,
    all_of,
    pod_templates,
    ray_cluster,
    render,
)

Break = Callable[[Document], object]
NEWEST = KUBERNETES_VERSIONS[-1]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_every_document_is_valid(kustomization: str, version: str) -> None:
    documents = render(kustomization)
    assert documents
    assert {d["metadata"]["name"]: errors_of(d, version=version) for d in documents} == {
        d["metadata"]["name"]: [] for d in documents
    }


def test_the_operator_gets_one_service_and_one_job_kind() -> None:
    kinds = {d["kind"] for k in KUSTOMIZATIONS for d in render(k) if "ray.io" in d["apiVersion"]}
    assert kinds == {"RayJob", "RayService"}


@pytest.mark.parametrize("kind", ["RayJob", "RayService"])
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda d: d["spec"].update(entryPoint="python -m jobs.mine"), "entryPoint"),
        (lambda d: ray_cluster(d).pop("headGroupSpec"), "headGroupSpec"),
        (lambda d: ray_cluster(d).update(rayVersion=2.6), "2.6"),
        (lambda d: ray_cluster(d)["workerGroupSpecs"][0].update(replicas="2"), "'2'"),
        (lambda d: ray_cluster(d)["headGroupSpec"]["rayStartParams"].update({"x": 0}), "0"),
        (lambda d: pod_templates(d)["head"]["spec"].pop("containers"), "containers"),
        (lambda d: _head_container(d).update(imagePullPolcy="Always"), "imagePullPolcy"),
        (lambda d: _head_container(d)["ports"].append({"name": "x"}), "containerPort"),
        (lambda d: d["metadata"].update(name="x" * 48), "xxx"),
    ],
)
def test_a_broken_ray_document_is_refused(kind: str, broken: Break, says: str) -> None:
    document = deepcopy(all_of(kind)[0][1])
    broken(document)
    assert any(says in error for error in errors_of(document, version=NEWEST))


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("NetworkPolicy", lambda d: d["spec"].update(ingres=[])),
        ("PodDisruptionBudget", lambda d: d["spec"].update(minAvailable=[1])),
        ("PersistentVolumeClaim", lambda d: d["spec"].update(accessModes="ReadWriteOncePod")),
    ],
)
def test_a_broken_kubernetes_document_is_refused(kind: str, broken: Break) -> None:
    document = deepcopy(all_of(kind)[0][1])
    broken(document)
    assert errors_of(document, version=NEWEST) != []


@pytest.mark.parametrize("kind", ["RayJob", "RayService"])
def test_rules_that_the_operator_itself_checks(kind: str) -> None:
    for _, document in all_of(kind):
        groups = ray_cluster(document)["workerGroupSpecs"]
        assert groups
        assert all(g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in groups)
        if document["spec"].get("ttlSecondsAfterFinished"):
            assert document["spec"]["shutdownAfterJobFinishes"] is True


def _head_container(document: Document) -> Document:
    container: Document = pod_templates(document)["head"]["spec"]["containers"][0]
    return container
