"""The snippets of "write your own frontend", as they stand there, on a real service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relabel_service import Client
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/write-a-frontend.md").read_text()


def snippet(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("language", "command", "labeler", "num_answers"),
    [
        ("sh", ("bash", "-eu"), "ann", 1),
        ("bash", ("bash", "-eu"), "cid", 1),
        ("python", (sys.executable,), "bob", 5),
    ],
)
def test_the_guides_snippets_label(
    server: ServerProcess,
    tmp_path: Path,
    language: str,
    command: tuple[str, ...],
    labeler: str,
    num_answers: int,
) -> None:
    campaign = f"guide-{language}"
    with Client(server.address, labeler="admin") as admin:
        uri = write_findings(tmp_path, 8)
        admin.create_campaign(campaign, findings_uri=uri, run_id="run")
        environment = os.environ | {
            "RELABEL_HTTP": f"http://127.0.0.1:{server.http_port}",
            "RELABEL_ADDRESS": server.address,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # buf
        }
        done = subprocess.run(
            command,
            input=snippet(language).replace("demo", campaign),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        [line] = admin.stats(campaign).labelers
    assert (line.labeler, line.num_results) == (labeler, num_answers)
    assert language != "sh" or "event: campaign" in done.stdout
