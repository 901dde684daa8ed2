"""Network policies close what HAProxy mode opens; budgets keep a drain from emptying it."""

import pytest
from ray.serve._private import constants  # Serve publishes its side ports nowhere else

from tests.support.manifests import (
    KUSTOMIZATIONS,
    Document,
    all_of,
    pod_templates,
    ray_cluster,
    render,
    serve_config,
)

# What HAProxy mode binds on all interfaces besides the two ports that Serve is told.
SIDE_PORTS = {
    *range(
        constants.RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT,
        constants.RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT + 1,
    ),
    *range(
        constants.RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT,
        constants.RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT + 1,
    ),
    constants.RAY_SERVE_FALLBACK_PROXY_GRPC_PORT,
    constants.RAY_SERVE_HAPROXY_METRICS_PORT,
    constants.RAY_SERVE_HAPROXY_STATS_PORT,
}
DASHBOARD = 8265
METRICS = 8080
# What pods may reach beside their like, names and 443, by a part of the kustomization's path.
REACHED = {"postgres": {5432, 6432, 6379}, "loop": {5432, 6432}, "autoscaled": {6443}}
NAMESPACE = "kubernetes.io/metadata.name"  # set by the API server, so that it can be trusted
OPERATOR = {"app.kubernetes.io/component": "kuberay-operator"}

each = pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)


def documents(kustomization: str, kind: str) -> list[Document]:
    return [d for k, d in all_of(kind) if k == kustomization]


def templates(kustomization: str) -> list[Document]:
    """Pod templates with the label that the operator adds, which budgets select by."""
    found = []
    for document in render(kustomization):
        if document["apiVersion"].startswith("ray.io/"):
            for name, template in pod_templates(document).items():
                role = name if name in {"head", "submitter"} else "worker"
                found.append(template["metadata"]["labels"] | {"ray.io/node-type": role})
    return found


def ray_policies(kustomization: str) -> list[Document]:
    """Policies of Ray's pods; the pod that makes a night's run has its own (test_nightly.py)."""
    policies = documents(kustomization, "NetworkPolicy")
    return [p for p in policies if p["metadata"]["name"] != "relabel-nightly"]


def selects(selector: Document, labels: Document) -> bool:
    chosen: Document = selector["matchLabels"]
    return chosen.items() <= labels.items()


@each
def test_every_pod_is_behind_a_policy(kustomization: str) -> None:
    policies = documents(kustomization, "NetworkPolicy")
    assert templates(kustomization)
    for labels in templates(kustomization):
        [policy] = [p for p in policies if selects(p["spec"]["podSelector"], labels)]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


@each
def test_pods_reach_their_own_names_and_named_ports_only(kustomization: str) -> None:
    for policy in ray_policies(kustomization):
        inside, names, *outside = policy["spec"]["egress"]
        assert inside == {"to": [{"podSelector": policy["spec"]["podSelector"]}]}
        [resolver] = names["to"]
        assert resolver["namespaceSelector"]["matchLabels"] == {NAMESPACE: "kube-system"}
        assert {port["port"] for port in names["ports"]} == {53}
        ports = {port["port"] for rule in outside for port in rule["ports"]}
        more = (ports for part, ports in REACHED.items() if part in kustomization)
        assert ports == {443}.union(*more)


@each
def test_outsiders_reach_named_ports_only(kustomization: str) -> None:
    for policy in ray_policies(kustomization):
        own = policy["spec"]["podSelector"]
        inside, *outside = policy["spec"]["ingress"]
        assert inside == {"from": [{"podSelector": own}]}
        for rule in outside:
            assert {port["protocol"] for port in rule["ports"]} == {"TCP"}
            assert not {port["port"] for port in rule["ports"]} & SIDE_PORTS
            assert not [port for port in rule["ports"] if "endPort" in port]


@each
def test_only_gateway_reaches_grpc_and_only_operator_reaches_ray(kustomization: str) -> None:
    grpc = {serve_config(d)["grpc_options"]["port"] for d in documents(kustomization, "RayService")}
    http = {serve_config(d)["http_options"]["port"] for d in documents(kustomization, "RayService")}
    for policy in ray_policies(kustomization):
        for rule in policy["spec"]["ingress"][1:]:
            [peer] = rule["from"]
            ports = {port["port"] for port in rule["ports"]}
            if ports & grpc:  # and the page, where routes lead to it
                assert ports == grpc | (http if documents(kustomization, "HTTPRoute") else set())
                assert peer["namespaceSelector"]["matchLabels"]  # not the whole cluster
            elif METRICS in ports:
                assert ports == {METRICS}
                assert peer["namespaceSelector"]["matchLabels"] == {
                    "relabel-service/monitoring": "true"
                }
            else:
                assert peer["namespaceSelector"]["matchLabels"] == {NAMESPACE: "kuberay-operator"}
                assert ports == {DASHBOARD} | http
                assert peer["podSelector"]["matchLabels"] == OPERATOR


@each
def test_budgets_leave_room_and_never_overlap(kustomization: str) -> None:
    budgets = documents(kustomization, "PodDisruptionBudget")
    for service in documents(kustomization, "RayService"):
        [group] = ray_cluster(service)["workerGroupSpecs"]
        pods = {"head": 1, "worker": group["replicas"]}
        for labels in templates(kustomization):
            [budget] = [b for b in budgets if selects(b["spec"]["selector"], labels)]
            num_pods = pods[labels["ray.io/node-type"]]
            # An operator's bare pods allow only a whole number, and only minAvailable.
            assert budget["spec"]["minAvailable"] in {1, num_pods - 1}
