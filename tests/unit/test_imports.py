"""Imports go one way: jobs -> cluster -> relabel_service, and so inside each; light stays light.

The rules are read from the source with ast, so they hold for code that no test runs and
for folders that do not exist yet; one fresh interpreter shows what a client really loads.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVE = [ROOT / "relabel_service/server" / name for name in ("app.py", "ray_node.py")]

# What each top-level folder must never import, anywhere in its files.
FORBIDDEN = {
    "relabel_service": {"cluster", "jobs", "tests", "bench", "torch", "transformers"},
    "cluster": {"jobs", "tests", "bench"},
    "jobs": {"tests", "bench"},
}

# Folders and files of each top-level folder: one may import those that stand after it.
ORDER = {
    "jobs": (
        "audit", "train", "mine", "report", "merge", "pattern", "policy", "self_refine", "loop",
        "common",
    ),
    "cluster": (
        "auditing", "report", "similar", "mining", "versions", "predictions", "inference",
        "training", "data", "engine", "tasks", "models", "scores", "io", "interfaces",
    ),
    "relabel_service": (
        "simulated_labeler", "cli", "bridge", "client", "server", "queue", "votes", "tools",
        "tables", "decisions", "tasks", "media", "wire", "errors", "lazy", "visible", "v1",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported module, and whether importing the file imports it too."""

    path: Path
    line: int
    module: str
    eager: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports_of(path: Path, source: str) -> list[Import]:
    """Every import in a file, including those inside functions and TYPE_CHECKING blocks."""
    return list(_walk(ast.parse(source, str(path)), path, eager=True))


def _walk(node: ast.AST, path: Path, *, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for module in _modules(child, path):
            yield Import(path, getattr(child, "lineno", 0), module, eager)
        inside_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, path, eager=eager and not inside_function)


def _modules(node: ast.AST, path: Path) -> list[str]:
    """The absolute modules that one statement imports; `from a import b` counts as a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = _package(path)[: -(node.level - 1) or None] if node.level else []
        base = ".".join([*package, *([node.module] if node.module else [])])
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and _is_import_call(node.func):
        names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        return [name for name in names if isinstance(name, str)]
    return []


def _is_import_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr == "import_module"
    return isinstance(function, ast.Name) and function.id in {"__import__", "import_module"}


def _package(path: Path) -> list[str]:
    return list(path.relative_to(ROOT).parent.parts)


def imports_under(folder: str) -> list[Import]:
    """Every import in a top-level folder's Python files; none if the folder is not there."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return [one for path in files for one in imports_of(path, path.read_text("utf-8"))]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder: str) -> None:
    wrong = [str(one) for one in imports_under(folder) if one.top in FORBIDDEN[folder]]
    assert wrong == []


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for top in ORDER for path in (ROOT / top).rglob("*.py")}


def dependencies(module: str) -> set[str]:
    """This project's modules that a module imports, wherever in its file.

    `from a import b` is a.b where that is a module, and otherwise a; that importing a.b runs
    a's __init__ does not count.
    """
    path, targets = MODULES[module], set[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = _modules(node, path)
        if isinstance(node, ast.ImportFrom):
            base, *members = names
            names = [member if member in MODULES else base for member in members]
        targets.update(names)
    return (targets & MODULES.keys()) - {module}


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes each of which can be reached from each other one."""

    def reach(start: str) -> set[str]:
        seen, todo = set[str](), [start]
        while todo:
            for node in edges.get(todo.pop(), set()) - seen:
                seen.add(node)
                todo.append(node)
        return seen

    reached = {node: reach(node) for node in edges}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached.get(other, ())))
        for node in edges
        if node in reached[node]
    }
    return sorted(map(list, groups))


EDGES = {module: dependencies(module) for module in MODULES}


def children_graph(folder: str) -> dict[str, set[str]]:
    """Which children (files and folders) of a package import which; "" is its __init__."""

    def child(module: str) -> str:
        return module.removeprefix(folder).strip(".").partition(".")[0]

    inside = [module for module in MODULES if module == folder or module.startswith(f"{folder}.")]
    graph: dict[str, set[str]] = {child(module): set() for module in inside}
    for module in inside:
        graph[child(module)] |= {child(other) for other in EDGES[module] if other in inside}
    return {name: others - {name} for name, others in graph.items()}


def test_no_file_imports_itself_in_a_circle() -> None:
    assert circles(EDGES) == []


@pytest.mark.parametrize(
    "folder", [name for name, path in MODULES.items() if path.name == "__init__.py"]
)
def test_no_folder_imports_itself_in_a_circle(folder: str) -> None:
    # Where a package's __init__ is a front door or a table of what it holds, it imports its own
    # files; others import it, so it is a child like the others.
    assert circles(children_graph(folder)) == []


@pytest.mark.parametrize("top", ORDER)
def test_folders_import_downwards_only(top: str) -> None:
    graph = children_graph(top)
    order = {name: number for number, name in enumerate(ORDER[top])}
    assert graph.keys() - {""} == order.keys()
    upwards = [
        f"{top}.{name} imports {top}.{other}"
        for name, others in graph.items()
        for other in others
        if name and (not other or order[other] < order[name])
    ]
    assert upwards == []


def test_circles_are_seen() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "e"}, "e": set[str]()}
    assert circles(edges) == [["b", "c"]]


def test_only_serve_imports_ray() -> None:
    wrong = [
        str(one)
        for one in imports_under("relabel_service")
        if one.top == "ray" and one.path not in SERVE
    ]
    assert wrong == []


def test_nothing_loads_serve_with_itself() -> None:
    # These bring Ray along, so a module-level import of one would bring Ray everywhere.
    serve = {module_name(path) for path in SERVE}
    wrong = [
        str(one)
        for one in imports_under("relabel_service")
        if one.eager and one.module in serve and one.path not in SERVE
    ]
    assert wrong == []


def test_proto_is_no_package() -> None:
    # proto-plus, which Ray installs, owns the import name `proto`.
    assert sorted((ROOT / "proto").rglob("__init__.py*")) == []


def test_client_loads_neither_ray_nor_torch() -> None:
    heavy = "{'ray', 'torch', 'transformers'}"
    program = f"import sys, relabel_service.client; print(*sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("source", "module", "eager"),
    [
        ("import ray.data as data", "ray.data", True),
        ("from ray import serve", "ray", True),
        ("from relabel_service.server import app", "relabel_service.server.app", True),
        ("from .server import app", "relabel_service.server.app", True),
        ("from .server.app import app", "relabel_service.server.app", True),
        ("def f():\n    import torch", "torch", False),
        ("class C:\n    import torch", "torch", True),
        ("if True:\n    import torch", "torch", True),
        ("import importlib\nimportlib.import_module('torch')", "torch", True),
    ],
)
def test_every_form_of_import_is_seen(source: str, module: str, eager: bool) -> None:
    found = imports_of(ROOT / "relabel_service" / "made_up.py", source)
    assert (module, eager) in [(one.module, one.eager) for one in found]
