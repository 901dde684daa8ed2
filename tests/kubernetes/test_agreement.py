"""The manifests agree with the code, the images, the documentation and each other."""

import functools
import importlib
import importlib.util
import itertools
import shlex
import tomllib
from pathlib import PurePosixPath

import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import (  # Ray has no public one
    _derive_autoscaling_config_from_ray_cr,
)
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
    gRPCOptionsSchema,
)
from sqlalchemy import make_url
from typer.testing import CliRunner

from relabel_service.server import app as serve_app
from relabel_service.server import servicers
from relabel_service.wire import metadata
from tests.support.dockerfile import in_stage, stages
from tests.support.manifests import (
    KUSTOMIZATIONS,
    ROOT,
    Document,
    all_of,
    pod_templates,
    ray_cluster,
    render,
    serve_config,
)

GUIDE = (ROOT / "docs/how-to/kubernetes.md").read_text("utf-8")
RAY_DOCUMENTS = all_of("RayJob") + all_of("RayService")
SERVICES = all_of("RayService")
SCRATCH = "/tmp"  # what Ray and the caches below HOME write to
HA_PROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}

each_ray_document = pytest.mark.parametrize(
    "document", [d for _, d in RAY_DOCUMENTS], ids=[k for k, _ in RAY_DOCUMENTS]
)
each_service = pytest.mark.parametrize(
    "service", [d for _, d in SERVICES], ids=[k for k, _ in SERVICES]
)


def containers(document: Document) -> list[Document]:
    templates = pod_templates(document).values()
    return [container for one in templates for container in one["spec"]["containers"]]


def ray_containers(document: Document) -> list[Document]:
    """KubeRay takes the first container of a head or worker pod for Ray's."""
    templates = pod_templates(document)
    return [t["spec"]["containers"][0] for name, t in templates.items() if name != "submitter"]


def test_every_job_runs_a_job_module_that_takes_its_settings() -> None:
    lines = {document["spec"]["entrypoint"] for _, document in all_of("RayJob")}
    for line in lines:
        python, dash_m, module, *settings = shlex.split(line)
        assert (python, dash_m, module.partition(".")[0]) == ("python", "-m", "jobs")
        told = shown_help(module)
        assert [s for s in settings if s.startswith("--") and s not in told] == []


@functools.cache
def shown_help(module: str) -> str:
    """What `python -m module --help` prints."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    run_as = module if spec.submodule_search_locations is None else f"{module}.__main__"
    runner = CliRunner(env={"COLUMNS": "200"})  # names are cut short on narrow terminals
    told = runner.invoke(importlib.import_module(run_as).app, ["--help"])
    assert told.exit_code == 0, told.output
    return told.stdout


@pytest.mark.parametrize(("path", "run"), all_of("RayJob"))
def test_every_run_uses_the_gpus_and_most_cpus_that_its_workers_have(
    path: str, run: Document
) -> None:
    words = shlex.split(run["spec"]["entrypoint"])
    if "jobs.merge" in words:  # works in its driver, on the head
        assert [g["replicas"] for g in ray_cluster(run)["workerGroupSpecs"]] == [0]
        return
    asked = dict(itertools.pairwise(words))
    [group] = ray_cluster(run)["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    num_workers = int(asked["--num-workers"])
    num_actors = num_workers * int(asked.get("--cpus-per-gpu", 1))
    is_autoscaled = ray_cluster(run).get("enableInTreeAutoscaling", False)
    num_pods = group["maxReplicas" if is_autoscaled else "replicas"]
    num_cpus = num_pods * int(limits["cpu"])
    assert num_cpus / 2 < num_actors < num_cpus  # some are left to read rows, or to serve
    num_gpus = num_pods * int(limits.get("nvidia.com/gpu", 0))
    assert num_gpus == (num_workers if "--use-gpu" in words else 0)


@each_service
def test_serve_config_holds_to_rays_schema(service: Document) -> None:
    config = serve_config(service)
    ServeDeploySchema.model_validate(config)
    # The schemas let unknown settings pass, for the sake of later versions; we do not.
    assert config.keys() <= ServeDeploySchema.model_fields.keys()
    assert config["http_options"].keys() <= HTTPOptionsSchema.model_fields.keys()
    assert config["grpc_options"].keys() <= gRPCOptionsSchema.model_fields.keys()
    for application in config["applications"]:
        assert application.keys() <= ServeApplicationSchema.model_fields.keys()
        for deployment in application["deployments"]:
            assert deployment.keys() <= DeploymentSchema.model_fields.keys()


@each_service
def test_serve_config_names_the_application_and_its_servicer(service: Document) -> None:
    config = serve_config(service)
    [application] = config["applications"]
    module, _, name = application["import_path"].partition(":")
    build = getattr(importlib.import_module(module), name)
    build(application["args"])  # refuses what is missing
    assert application["name"] == metadata.APPLICATION
    assert [d["name"] for d in application["deployments"]] == [serve_app.RelabelService.__name__]
    assert config["grpc_options"]["grpc_servicer_functions"] == servicers.SERVICERS


@each_service
def test_application_has_a_route(service: Document) -> None:
    # Without one, HAProxy mode (Ray 2.60) gives it no backend, not even for gRPC.
    assert [a["route_prefix"] for a in serve_config(service)["applications"]] == ["/"]


@each_service
def test_ports_are_the_same_everywhere(service: Document) -> None:
    config = serve_config(service)
    expected = {
        "serve": config["http_options"]["port"],
        "serve-grpc": config["grpc_options"]["port"],
    }
    for container in ray_containers(service):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert expected.items() <= ports.items()
    offered = {one["name"]: one["port"] for one in service["spec"]["serveService"]["spec"]["ports"]}
    assert "serve-grpc" in offered
    assert offered.items() <= expected.items()
    [exposed] = in_stage("serve", "EXPOSE")
    assert {int(port) for port in exposed} == set(expected.values())


@each_service
def test_every_node_serves_through_haproxy(service: Document) -> None:
    for container in ray_containers(service):
        settings = {one["name"]: one.get("value") for one in container["env"]}
        assert settings.items() >= HA_PROXY.items()


@each_service
def test_sqlite_has_one_writer_and_its_volume(service: Document) -> None:
    [application] = serve_config(service)["applications"]
    url = make_url(application["args"]["queue_url"])
    [deployment] = application["deployments"]
    [group] = ray_cluster(service)["workerGroupSpecs"]
    mounts = group["template"]["spec"]["containers"][0]["volumeMounts"]
    mounts = [mount for mount in mounts if mount["mountPath"] != SCRATCH]
    if url.get_backend_name() != "sqlite":
        assert (mounts, deployment["num_replicas"] > 1) == ([], True)
        return
    assert (deployment["num_replicas"], group["maxReplicas"]) == (1, 1)
    assert service["spec"]["upgradeStrategy"]["type"] == "None"  # a second cluster, a second writer
    assert url.database is not None
    assert [m["mountPath"] for m in mounts] == [str(PurePosixPath(url.database).parent)]


@each_service
def test_every_replica_has_a_pod(service: Document) -> None:
    [application] = serve_config(service)["applications"]
    [group] = ray_cluster(service)["workerGroupSpecs"]
    assert [d["num_replicas"] for d in application["deployments"]] == [group["replicas"]]


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_claims_are_there_and_used(kustomization: str) -> None:
    documents = render(kustomization)
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for d in documents
        if d["apiVersion"].startswith("ray.io/")
        for template in pod_templates(d).values()
        for volume in template["spec"].get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    assert used == claims


@each_ray_document
def test_images_are_stages_of_this_version(document: Document) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    for container in containers(document):
        repository, _, tag = container["image"].partition(":")
        project, _, stage = repository.partition("/")
        assert (project, tag.removesuffix("-cuda")) == ("relabel-service", version)
        assert stage in stages()


@each_ray_document
def test_ray_is_the_pinned_one(document: Document) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    assert ray_cluster(document)["rayVersion"] == pins["ray"]


@each_ray_document
def test_pods_have_no_rights_and_known_needs(document: Document) -> None:
    for name, template in pod_templates(document).items():
        pod = template["spec"]
        # Ray's autoscaler, beside the head, asks the API server for pods.
        scales = name == "head" and ray_cluster(document).get("enableInTreeAutoscaling", False)
        assert pod["automountServiceAccountToken"] is scales
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"name": "HOME", "value": SCRATCH} in container["env"]
            [scratch] = [m for m in container["volumeMounts"] if m["mountPath"] == SCRATCH]
            assert {"name": scratch["name"], "emptyDir": {}} in pod["volumes"]
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            stage = container["image"].partition("/")[2].partition(":")[0]
            user = in_stage(stage, "USER")[-1][0]
            ids = pod["securityContext"]
            assert user == f"{ids['runAsUser']}:{ids['runAsGroup']}"


@pytest.mark.parametrize(("path", "run"), all_of("RayJob"))
def test_the_autoscaler_is_as_confined_as_the_head_beside_it(path: str, run: Document) -> None:
    cluster = ray_cluster(run)
    if not cluster.get("enableInTreeAutoscaling"):
        assert "autoscalerOptions" not in cluster
        return
    options = cluster["autoscalerOptions"]
    [head] = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    for shared in ("env", "securityContext", "volumeMounts"):
        assert options[shared] == head[shared]
    [group] = cluster["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] < group["maxReplicas"]
    policies = [d for d in render(path) if d["kind"] == "NetworkPolicy"]
    reached = {p["port"] for d in policies for e in d["spec"]["egress"] for p in e.get("ports", [])}
    assert {443, 6443} <= reached  # the API server


def test_rays_autoscaler_reads_how_many_workers_it_may_ask_for() -> None:
    scaled = [d for _, d in all_of("RayJob") if ray_cluster(d).get("enableInTreeAutoscaling")]
    assert scaled
    for run in scaled:
        cluster = {"kind": "RayCluster", "metadata": run["metadata"], "spec": ray_cluster(run)}
        config = _derive_autoscaling_config_from_ray_cr(cluster)
        kinds = config["available_node_types"]
        assert kinds[config["head_node_type"]]["resources"]["CPU"] == 0  # no work on the head
        [group] = ray_cluster(run)["workerGroupSpecs"]
        worker = kinds[group["groupName"]]
        assert (worker["min_workers"], worker["max_workers"]) == (0, group["maxReplicas"])
        asked = dict(itertools.pairwise(shlex.split(run["spec"]["entrypoint"])))
        assert int(asked["--num-workers"]) < worker["resources"]["CPU"] * config["max_workers"]


@pytest.mark.parametrize(("path", "route"), all_of("GRPCRoute") + all_of("HTTPRoute"))
def test_routes_lead_to_ports_that_the_service_offers_to_the_gateway(
    path: str, route: Document
) -> None:
    documents = {d["kind"]: d for d in render(path)}
    service = documents["RayService"]["spec"]["serveService"]
    ports = {one["name"]: one["port"] for one in service["spec"]["ports"]}
    [rule] = route["spec"]["rules"]
    [backend] = rule["backendRefs"]
    name = {"GRPCRoute": "serve-grpc", "HTTPRoute": "serve"}[route["kind"]]
    assert backend == {"name": service["metadata"]["name"], "port": ports[name]}
    let_in = [
        {port["port"] for port in one["ports"]}
        for one in documents["NetworkPolicy"]["spec"]["ingress"]
        if {"namespaceSelector": {"matchLabels": {"relabel-service/gateway": "true"}}}
        in one["from"]
    ]
    assert let_in == [set(ports.values())]


def test_routes_share_no_host_name() -> None:
    # Of a GRPCRoute and an HTTPRoute with a common one, the gateway must refuse one.
    names = [n for kind in ("GRPCRoute", "HTTPRoute") for _, d in all_of(kind)
             for n in d["spec"]["hostnames"]]  # fmt: skip
    assert len(names) == len(set(names)) == 2


@each_ray_document
def test_ray_pods_are_probed(document: Document) -> None:
    # Without probes of its own a worker gets the operator's, which need wget in the image.
    for container in ray_containers(document):
        assert container["livenessProbe"]["httpGet"]["path"] == "/api/healthz"
        assert "readinessProbe" in container


@each_service
def test_workers_are_ready_when_grpc_answers(service: Document) -> None:
    worker = pod_templates(service)["serve"]["spec"]["containers"][0]
    assert worker["readinessProbe"]["grpc"]["port"] == serve_config(service)["grpc_options"]["port"]


@each_service
def test_calls_end_before_a_worker_goes(service: Document) -> None:
    worker = pod_templates(service)["serve"]["spec"]
    [program, seconds] = worker["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    left_s = worker["terminationGracePeriodSeconds"] - int(seconds)
    assert left_s >= 2 * serve_app.GRACE_S


@each_ray_document
def test_secrets_are_made_as_the_guide_says(document: Document) -> None:
    for container in containers(document):
        for one in container.get("env", []):
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                assert f"create secret generic {reference['name']}" in GUIDE
                assert f"{reference['key']}=" in GUIDE
        for source in container.get("envFrom", []):
            assert f"create secret generic {source['secretRef']['name']}" in GUIDE


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_guide_names_every_kustomization(kustomization: str) -> None:
    assert kustomization in GUIDE
    assert not [d for d in render(kustomization) if d["kind"] == "Secret"]
