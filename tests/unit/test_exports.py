"""The package's front door: the names it exports, and what importing it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import relabel_service
from relabel_service import decisions, errors


def test_every_exported_name_is_its_modules() -> None:
    for module, names in relabel_service.EXPORTS.items():
        for name in names:
            assert getattr(relabel_service, name).__module__ == f"relabel_service.{module}"
            assert name in dir(relabel_service)


def test_every_error_and_decision_is_exported() -> None:
    for module in (errors, decisions):
        name = module.__name__.removeprefix("relabel_service.")
        made_here = {
            value.__name__
            for value in vars(module).values()
            if getattr(value, "__module__", "") == module.__name__
        }
        assert set(relabel_service.EXPORTS[name]) == made_here - {"reason_of", "error_of"}
    assert relabel_service.EXPORTS["client"] == ("Client",)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(relabel_service.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = [alias.asname for node in ast.walk(block) for alias in getattr(node, "names", ())]
    assert seen == [name for names in relabel_service.EXPORTS.values() for name in names]


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'relabel_service' has no attribute 'Clint'"):
        relabel_service.Clint  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import relabel_service.errors", {"grpc", "pyarrow", "numpy", "ray", "torch"}),
        ("from relabel_service import Client, accept", {"pyarrow", "sqlalchemy", "ray", "torch"}),
        ("import relabel_service.cli.main", {"deltalake", "ray", "torch"}),
        ("import relabel_service.server.service", {"ray", "scipy", "torch"}),
    ],
)
def test_importing_it_loads_little(statement: str, unwanted: set[str]) -> None:
    program = f"{statement}\nimport sys; print(*sorted({unwanted} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
