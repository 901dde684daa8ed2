"""Alerts and dashboard ask for what the service measures, and each component is used."""

import json
import re

import pytest

from relabel_service.server.metrics import METRICS
from tests.support.kubernetes_schemas import KUBERNETES_VERSIONS, errors_of
from tests.support.manifests import (
    COMPONENTS,
    KUSTOMIZATIONS,
    ROOT,
    all_of,
    pod_templates,
    render,
)

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
OFFERED = {
    f"ray_{name}{suffix}": metric.labels
    for name, metric in METRICS.items()
    for suffix in SUFFIXES[metric.kind]
}
MONITORED = "k8s/overlays/monitored"


def dashboard() -> str:
    [shown] = [d for d in render(MONITORED) if d["kind"] == "ConfigMap"]
    [text] = shown["data"].values()
    return str(text)


def queries() -> list[str]:
    """PromQL of every alert and panel."""
    [(_, rules)] = all_of("PrometheusRule")
    alerts = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    panels = json.loads(dashboard())["panels"]
    return alerts + [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("query", queries())
def test_queries_ask_for_metrics_and_labels_that_are_offered(query: str) -> None:
    names = set(re.findall(r"\bray_\w+", query))
    assert names
    assert names <= OFFERED.keys()
    labels = {"le", *(label for name in names for label in OFFERED[name])}
    asked = re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", query)
    asked += [label for by in re.findall(r"by \(([\w, ]+)\)", query) for label in by.split(", ")]
    assert set(asked) <= labels


def test_every_metric_is_shown() -> None:
    shown = set(re.findall(r"\bray_\w+", dashboard() + "".join(queries())))
    assert [name for name in METRICS if not any(f"ray_{name}" in one for one in shown)] == []


def test_the_monitor_names_a_port_of_the_pods_that_it_selects() -> None:
    [(kustomization, monitor)] = all_of("PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    [service] = [d for d in render(kustomization) if d["kind"] == "RayService"]
    for template in pod_templates(service).values():
        assert wanted <= template["metadata"]["labels"].items()
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_is_used_by_an_overlay(component: str) -> None:
    texts = [(ROOT / k / "kustomization.yaml").read_text("utf-8") for k in KUSTOMIZATIONS]
    assert any(f"../../{component.removeprefix('k8s/')}" in text for text in texts)


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule"])
def test_a_broken_document_is_refused(kind: str) -> None:
    [(_, document)] = all_of(kind)
    broken = {**document, "spec": {**document["spec"], "selektor": {}}}
    assert errors_of(broken, version=KUBERNETES_VERSIONS[-1]) != []
