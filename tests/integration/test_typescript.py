"""The TypeScript client: what is checked in is what the contract says, and its example labels."""

import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from relabel_service import Client
from relabel_service.server.auth import mint
from tests.integration.conftest import SECRET
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess

FOLDER = Path(__file__).parents[2] / "clients/typescript"


def run(*command: str, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client with what it needs, compiled."""
    assert shutil.which("npm"), "npm is not installed; run `make tools`"
    folder = tmp_path_factory.mktemp("client") / "clients/typescript"
    unwanted = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(FOLDER, folder, ignore=unwanted)
    run("npm", "ci", "--no-audit", "--no-fund", folder=folder)
    run("npm", "run", "build", folder=folder)
    return folder


def test_what_is_generated_is_what_the_contract_says(built: Path) -> None:
    (built.parents[1] / "proto").symlink_to(FOLDER.parents[1] / "proto")
    before = {path: path.read_text() for path in (built / "src/gen").rglob("*.ts")}
    buf = Path(sys.executable).with_name("buf")
    template = ("--template", "buf.gen.yaml")
    run(str(buf), "generate", "../../proto", *template, folder=built)
    assert {path: path.read_text() for path in (built / "src/gen").rglob("*.ts")} == before
    assert len(before) >= 7


def label(built: Path, http_port: int, *arguments: str, keys: str, token: str = "") -> str:
    address = f"http://127.0.0.1:{http_port}"
    environment = {"PATH": "/usr/bin:/bin", "RELABEL_TOKEN": token}
    node = shutil.which("node") or "node"
    command = (node, "dist/examples/labeler.js", address, *arguments)
    return run(*command, folder=built, input=keys, env=environment).stdout


def test_the_example_labels(built: Path, server: ServerProcess, tmp_path: Path) -> None:
    with Client(server.address, labeler="admin") as admin:
        uri = write_findings(tmp_path, 8)
        admin.create_campaign("node", findings_uri=uri, run_id="run")
        said = label(built, server.http_port, "node", "ann", keys="a\nx\nc\ns\ne\na\na\nq\n")
        assert "6 answers are kept" in said
        stats = admin.stats("node")
    assert (stats.num_results, stats.num_changed, stats.num_escalated) == (6, 3, 1)
    assert stats.num_leased == 0  # what it did not answer went back


def test_it_labels_with_a_token(built: Path, guarded: ServerProcess, tmp_path: Path) -> None:
    def token(name: str, role: str) -> str:
        return mint(SECRET.encode(), name, role=role, lifetime_s=600)

    with Client(guarded.address, token=token("boss", "admin")) as admin:
        uri = write_findings(tmp_path, 1)
        admin.create_campaign("node-token", findings_uri=uri, run_id="run")
        said = label(
            built, guarded.http_port, "node-token", keys="a\n", token=token("ann", "labeler")
        )
        assert "1 answers are kept" in said
        assert [each.labeler for each in admin.stats("node-token").labelers] == ["ann"]


class LosesReplicas(BaseHTTPRequestHandler):
    """Forwards, but for each method's first call: it ends as Serve ends one whose replica died."""

    service: httpx.Client
    seen: set[str]

    def do_POST(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):  # Node sends chunks
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        if self.path not in self.seen:
            self.seen.add(self.path)
            self._send(500, "text/plain; charset=utf-8", b"Internal Server Error")
            return
        kept = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("host", "transfer-encoding", "connection")
        }
        answer = self.service.post(self.path, content=body, headers=kept)
        self._send(answer.status_code, answer.headers["content-type"], answer.content)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_calls_of_replicas_that_end_are_made_again(
    built: Path, server: ServerProcess, tmp_path: Path
) -> None:
    class Handler(LosesReplicas):
        service = httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}")
        seen: set[str] = set()

    with Client(server.address, labeler="admin") as admin, Handler.service:
        uri = write_findings(tmp_path, 2)
        admin.create_campaign("node-500", findings_uri=uri, run_id="run")
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as between:
            threading.Thread(target=between.serve_forever, daemon=True).start()
            said = label(built, between.server_port, "node-500", "ann", keys="a\nq\n")
            between.shutdown()
        assert "1 answers are kept" in said
        assert admin.stats("node-500").num_results == 1
    assert {path.rpartition("/")[2] for path in Handler.seen} >= {"LeaseItems", "SubmitResults"}
