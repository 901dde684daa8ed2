"""README's commands as a newcomer runs them: in an empty folder, in order, as they stand there."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

import jobs.merge
import jobs.mine
import jobs.train
from relabel_service.cli.main import app as relabel_app
from relabel_service.errors import InvalidInput
from relabel_service.server.settings import STARTED
from relabel_service.tables import delta
from tests.support.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]
NUM_ROWS = 60
NUM_ASKED = 3  # 5% of them
KEYS = {"relabel label": "a\n" * NUM_ASKED}  # what is typed: accept the suggestion


def readme_commands() -> list[str]:
    """Of the block that uses the product, continuations joined, comments dropped."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    [block] = [block for block in blocks if "jobs.train" in block]
    return [line.partition(" #")[0].strip() for line in block.splitlines() if line.strip()]


def keys_for(command: str) -> str:
    return next((keys for start, keys in KEYS.items() if command.startswith(start)), "")


class Newcomer:
    """A shell in a folder, where `python` and `relabel` are this project's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, arguments in (("python", ""), ("relabel", " -m relabel_service.cli.main")):
            (bin_folder / name).write_text(f'#!/bin/sh\nexec {sys.executable}{arguments} "$@"\n')
            (bin_folder / name).chmod(0o755)
        # The defaults may be taken on a machine that runs tests.
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._serve_options = f"--port {port} --http-port {free_port()}"
        self._environment = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
        self._environment |= {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RELABEL_ADDRESS": self.address,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._services: list[subprocess.Popen[str]] = []

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """The command's end; a command that ends with & goes on, once it says that it serves."""
        if command.endswith("&"):
            self._start(f"exec {command.removesuffix('&')} {self._serve_options}")
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self._folder,
            env=self._environment,
            input=keys_for(command),
            capture_output=True,
            text=True,
        )

    def _start(self, command: str) -> None:
        with (self._folder / "serve.log").open("w") as log:
            service = subprocess.Popen(
                ["sh", "-c", command],
                cwd=self._folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._services.append(service)
        assert service.stdout is not None
        assert any(line.startswith(STARTED) for line in service.stdout)

    def leave(self) -> None:
        for service in self._services:
            service.send_signal(signal.SIGTERM)
            assert service.stdout is not None
            service.stdout.close()
            service.wait()


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    shell = Newcomer(tmp_path)
    yield shell
    shell.leave()


def table() -> pa.Table:
    rows = planted(NUM_ROWS, noise=0.2)
    return pa.table({"id": rows.ids, "text": rows.contents, "label": rows.labels})


def test_a_delta_table_gets_its_next_version_and_a_parquet_table_learns_what_its_merge_needs(
    newcomer: Newcomer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_deltalake(str(tmp_path / "data/train"), table())
    for command in readme_commands():
        done = newcomer.run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    dataset = DeltaTable(str(tmp_path / "data/train"))
    assert dataset.version() == 1
    assert dataset.to_pyarrow_table().num_rows == NUM_ROWS
    assert delta.read_where(str(tmp_path / "data/lineage"), {}).num_rows == NUM_ASKED

    # Once more of parquet, in the same folder and service: that each command is a process that
    # starts has been seen.
    assert newcomer.run("relabel delete round-1").returncode == 0
    for folder in ("data", "models"):
        shutil.rmtree(tmp_path / folder)
    (tmp_path / "data/train").mkdir(parents=True)
    pq.write_table(table(), tmp_path / "data/train/part-0.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELABEL_ADDRESS", newcomer.address)
    *commands, merge = (line for line in readme_commands() if not line.endswith("&"))
    for command in commands:
        run_here(command)
    assert delta.read_where("data/results", {}).num_rows == NUM_ASKED
    with pytest.raises(InvalidInput, match="Delta"):
        run_here(merge)


APPS = {
    "python -m jobs.train": jobs.train.app,
    "python -m jobs.mine": jobs.mine.app,
    "python -m jobs.merge": jobs.merge.app,
    "relabel": relabel_app,
}


def run_here(command: str) -> None:
    """In this process."""
    [(app, rest)] = [
        (app, command.removeprefix(name)) for name, app in APPS.items() if command.startswith(name)
    ]
    done = CliRunner().invoke(
        app, shlex.split(rest), input=keys_for(command), catch_exceptions=False
    )
    assert done.exit_code == 0, f"{command}\n{done.output}"
