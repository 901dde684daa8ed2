"""What the documents show works: commands have the options they are shown with, code runs."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from relabel_service.cli.main import app as relabel

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def jobs() -> list[str]:
    """Names of what `python -m jobs.NAME` runs: modules, and packages with a __main__."""
    modules = [p.stem for p in (ROOT / "jobs").glob("*.py") if p.stem != "__init__"]
    return modules + [p.parent.name for p in (ROOT / "jobs").glob("*/__main__.py")]


def commands(document: Path) -> list[str]:
    """Command lines of jobs and of relabel, their continuations joined."""
    text = document.read_text().replace("\\\n", " ")
    return re.findall(r"(?:python -m jobs\.\w+|^\s*relabel \w+) .*", text, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_have_the_options_they_are_shown_with(document: Path) -> None:
    for line in commands(document):
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line.split("#")[0]):
            assert option in _options(line), f"{document.name}: {line.strip()}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_in_documents_parses_and_imports_what_exists(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.parse(block).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([node], []), str(document), "exec"), {})


def test_every_document_that_is_linked_exists() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_job_and_command_is_documented() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    for job in jobs():
        assert f"jobs.{job}" in text, job
    for name in get_command(relabel).commands:  # type: ignore[attr-defined]
        assert f"relabel {name}" in text, name


def _options(line: str) -> set[str]:
    if match := re.search(r"jobs\.(\w+)", line):
        package = (ROOT / "jobs" / match[1]).is_dir()
        name = f"jobs.{match[1]}.__main__" if package else f"jobs.{match[1]}"
        command = get_command(import_module(name).app)
    else:
        name = line.split()[1]
        command = get_command(relabel).commands[name]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts}
