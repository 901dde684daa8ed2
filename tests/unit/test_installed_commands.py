"""The commands that packages bring to `relabel` by entry points, and what they need."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relabel_service.cli import installed
from relabel_service.cli.main import app, main
from relabel_service.errors import InvalidInput

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BROUGHT: dict[str, str] = PROJECT["entry-points"][installed.COMMANDS]
HEAVY = ("cleanlab", "ray", "scipy", "sklearn", "torch", "transformers")


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path that says what this release brings, as an installation does."""
    return _written(tmp_path, BROUGHT, monkeypatch)


def _written(folder: Path, commands: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    info = folder / "stand_in-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in commands.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{installed.COMMANDS}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(folder))
    return folder


def relabel(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("distribution")
def test_installed_commands_are_listed_with_what_they_do() -> None:
    listed = relabel("--help")
    for name, value in BROUGHT.items():
        entry = metadata.EntryPoint(name, value, installed.COMMANDS)
        assert f" {name} " in listed
        about = installed._about(entry.module)
        assert about.split()[0] in listed


@pytest.mark.usefixtures("distribution")
@pytest.mark.parametrize("name", BROUGHT)
def test_an_installed_command_is_the_job_itself(name: str) -> None:
    assert f" {name} [OPTIONS]" in relabel(name, "--help")


def test_listing_them_loads_none(distribution: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(distribution)!r})\n"
        "from typer.testing import CliRunner\n"
        "from relabel_service.cli.main import app\n"
        "assert ' mine ' in CliRunner().invoke(app, ['--help']).stdout\n"
        f"print(*sorted({set(HEAVY)} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


class Without:
    """A finder that says of some modules, first of all finders, that they are not there."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def find_spec(self, name: str, *_: Any) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where the base wheel is installed alone: cluster and jobs are there, torch is not."""
    gone = [name for name in sys.modules if name.partition(".")[0] in ("cluster", "jobs")]
    for name in [*gone, "torch"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("sys.meta_path", [Without("torch"), *sys.meta_path])
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cluster", "jobs")]:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("distribution", "without_the_extra")
def test_without_the_extra_a_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["relabel", "mine", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "which is not installed; pip install 'relabel-service[mine]'" in told


@pytest.mark.usefixtures("without_the_extra")
def test_importing_cluster_without_the_extra_says_what_to_install() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'relabel-service\[mine\]'"):
        __import__("cluster")


def test_a_command_whose_package_is_gone_is_listed_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, {"polish": "no_such_package.polish:app"}, monkeypatch)
    assert "Not installed: pip install" in relabel("--help")
    with pytest.raises(InvalidInput, match="polish: needs no_such_package"):
        relabel("polish")


def test_the_wheel_holds_the_miner_and_needs_torch_by_the_extra_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {"relabel_service*", "cluster*", "jobs*"} <= set(packages)
    needed = {name.partition("=")[0].partition(">")[0] for name in PROJECT["dependencies"]}
    assert needed.isdisjoint(HEAVY)
    extra = " ".join(PROJECT["optional-dependencies"]["mine"])
    assert all(name in extra for name in ("torch", "scipy", "scikit-learn", "pandas"))
    assert "ray" not in extra
