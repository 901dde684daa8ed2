"""The CronJob makes one dated RayJob a night, valid and with no more rights than that takes."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.certificates import write_certificates
from tests.support.kubernetes_schemas import KUBERNETES_VERSIONS, errors_of
from tests.support.manifests import ROOT, Document, render

NIGHTLY = "k8s/overlays/nightly"
RUNS = "/apis/ray.io/v1/namespaces/relabel/rayjobs"


def only(kind: str, name: str = "relabel-nightly") -> Document:
    [found] = [
        d for d in render(NIGHTLY) if d["kind"] == kind and d["metadata"]["name"].startswith(name)
    ]
    return found


def pod() -> Document:
    template: Document = only("CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    return template


class ApiServer(HTTPServer):
    """Keeps RayJobs by name, as the API server does."""

    def __init__(self, template: Document) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.jobs = {"relabel-nightly": template}
        self.tokens: set[str | None] = set()


class _Answering(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        job = self.server.jobs.get(self.path.removeprefix(f"{RUNS}/"))
        self._answer(404 if job is None else 200, job)

    def do_POST(self) -> None:
        assert self.path == RUNS
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = job["metadata"]["name"]
        if name in self.server.jobs:
            self._answer(409, {"reason": "AlreadyExists"})
            return
        self.server.jobs[name] = job
        self._answer(201, job)

    def _answer(self, code: int, body: Any) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    made = write_certificates(tmp_path)
    made.ca.rename(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "namespace").write_text("relabel")
    with ApiServer(only("RayJob")) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.server, made.server_key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def submit(api: ApiServer, folder: Path) -> subprocess.CompletedProcess[str]:
    [container] = pod()["spec"]["containers"]
    _, script, *arguments = container["command"]
    environment = {
        "SERVICE_ACCOUNT": str(folder),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(api.server_port),
        "JOB_NAME": "relabel-nightly-29",
        "JOB_UID": "0-1-2",
    }
    return subprocess.run(
        [sys.executable, ROOT / NIGHTLY / Path(script).name, *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_a_night_is_one_run_however_often_it_is_asked_for(api: ApiServer, tmp_path: Path) -> None:
    first, second = submit(api, tmp_path), submit(api, tmp_path)
    assert (first.stderr, first.returncode, second.returncode) == ("", 0, 0)
    [name] = api.jobs.keys() - {"relabel-nightly"}
    date = name.removeprefix("relabel-nightly-")
    assert f"{name} is made" in first.stdout
    run = api.jobs[name]
    if date in second.stdout:  # unless midnight was between them
        assert f"{name} is there already" in second.stdout
    assert f"--run-id nightly-{date}" in run["spec"]["entrypoint"]
    assert "DATE" not in json.dumps(run)
    assert (api.jobs["relabel-nightly"]["spec"]["suspend"], run["spec"]["suspend"]) == (True, False)
    [owner] = run["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", "relabel-nightly-29", "0-1-2")
    assert api.tokens == {"Bearer secret"}
    del run["metadata"]["ownerReferences"]  # Kubernetes' own metadata
    run["metadata"]["namespace"] = "relabel"
    assert errors_of(run, version=KUBERNETES_VERSIONS[-1]) == []


def test_a_failure_is_told_in_a_sentence(api: ApiServer, tmp_path: Path) -> None:
    del api.jobs["relabel-nightly"]
    refused = submit(api, tmp_path)
    assert (refused.returncode, refused.stderr) == (1, "error: the API server says 404: null\n")
    (tmp_path / "ca.crt").write_text((tmp_path / "server.pem").read_text())
    stranger = submit(api, tmp_path)
    assert stranger.returncode == 1
    assert stranger.stderr.startswith("error: the API server does not answer: ")


def test_the_run_may_read_one_ray_job_and_make_others() -> None:
    assert {
        (verb, *rule.get("resourceNames", []))
        for rule in only("Role")["rules"]
        for verb in rule["verbs"]
        if (rule["apiGroups"], rule["resources"]) == (["ray.io"], ["rayjobs"])
    } == {("create",), ("get", "relabel-nightly")}
    [subject] = only("RoleBinding")["subjects"]
    account = only("ServiceAccount")["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert pod()["spec"]["serviceAccountName"] == account["name"]


def test_its_pod_has_no_other_rights_and_reaches_the_api_server_only() -> None:
    policy = only("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod()["metadata"]["labels"].items()
    assert (policy["policyTypes"], policy.get("ingress", [])) == (["Ingress", "Egress"], [])
    [rule] = policy["egress"]
    assert {port["port"] for port in rule["ports"]} == {443, 6443}
    assert pod()["spec"]["securityContext"]["runAsNonRoot"] is True
    [container] = pod()["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_every_try_is_of_the_night_that_it_is_for() -> None:
    spec = only("CronJob")["spec"]
    _, hour, *_ = spec["schedule"].split()
    late_s = spec["startingDeadlineSeconds"] + spec["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert spec["timeZone"] == "Etc/UTC"
    assert int(hour) * 3600 + late_s < 86400
    assert only("RayJob")["spec"]["activeDeadlineSeconds"] < 86400 - late_s
