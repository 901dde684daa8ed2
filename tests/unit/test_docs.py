"""What the documents show works: options exist and are documented, links resolve, code imports.

Commands, options, RPCs, columns and settings are walked, never listed here, so that adding one
without its line of documentation fails.
"""

import ast
import re
import runpy
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from relabel_service.client import Client
from relabel_service.server.auth import AuthSettings
from relabel_service.server.rate_limits import Limits
from relabel_service.server.regular_exports import ExportSettings
from relabel_service.tables import schemas
from relabel_service.v1 import relabel_service_pb2 as rpc

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
DOCUMENTS = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "bench").rglob("*.md")])
GENERATE = "run python docs/reference/write_reference.py"
EVERY_DOCUMENT = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)

generate = runpy.run_path(str(REFERENCE / "write_reference.py"))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def commands(document: Path) -> list[str]:
    """Command lines of jobs and of relabel, their continuations joined."""
    text = document.read_text().replace("\\\n", " ")
    return re.findall(r"(?:python -m jobs\.\w+|^\s*relabel \w+) .*", text, re.MULTILINE)


@EVERY_DOCUMENT
def test_commands_have_the_options_they_are_shown_with(document: Path) -> None:
    for line in commands(document):
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line.split("#")[0]):
            assert option in options_of(line), f"{document.name}: {line.strip()}"


@EVERY_DOCUMENT
def test_python_in_documents_parses_and_imports_what_exists(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.parse(block).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([node], []), str(document), "exec"), {})


@EVERY_DOCUMENT
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (document.parent / file).resolve() if file else document
        assert page.exists(), f"{document.relative_to(ROOT)}: {target}"
        if anchor:
            assert anchor in anchors(page), f"{document.relative_to(ROOT)}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        waiting += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert {str(page.relative_to(ROOT)) for page in set(DOCUMENTS) - reached} == set()


@pytest.mark.parametrize("name", generate["PAGES"])
def test_generated_pages_are_what_the_code_says(name: str) -> None:
    assert (REFERENCE / name).read_text() == generate["PAGES"][name](), GENERATE


def test_every_command_and_each_of_its_options_is_in_the_reference() -> None:
    sections = sections_of(REFERENCE / "commands.md")
    named = {
        f"python -m jobs.{job}": generate["job_command"](job) for job in generate["job_names"]()
    }
    named |= {f"relabel {name}": command for name, command in relabel_commands().items()}
    for title, command in named.items():
        assert command.help, f"{title} says nothing of what it does"
        for parameter in command.params:
            assert parameter.help, f"{title} {parameter.name} has no help text"
            for option in [*parameter.opts, *parameter.secondary_opts]:
                shown = option if option.startswith("-") else option.upper()
                assert shown in sections[title], f"{title} {option}: {GENERATE}"


def test_every_column_of_every_table_is_in_the_reference_with_its_meaning() -> None:
    sections = sections_of(REFERENCE / "tables.md")
    tables = {name: value for name, value in vars(schemas).items() if isinstance(value, pa.Schema)}
    for name, schema in tables.items():
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", sections[name.title()], re.M)
        assert [column for column, _, _ in rows] == schema.names, name
        for column, kind, meaning in rows:
            assert kind.strip() == kind_of(schema.field(column).type), f"{name}.{column}"
            assert len(meaning.split()) > 1, f"{name}.{column}"


def test_every_method_of_the_client_is_in_the_reference() -> None:
    page = (REFERENCE / "python.md").read_text()
    methods = {name for name in dir(Client) if not name.startswith("_")} - {"close"}
    assert {name for name in methods if not re.search(rf"[`.]{name}[(`]", page)} == set()


def test_every_rpc_is_in_the_reference() -> None:
    page = (REFERENCE / "grpc.md").read_text()
    for method in rpc.DESCRIPTOR.services_by_name["RelabelService"].methods:
        assert f"[`{method.name}`]" in page, method.name


@pytest.mark.parametrize(
    "settings", [Limits, AuthSettings, ExportSettings], ids=lambda kind: kind.__name__
)
def test_every_setting_of_the_service_is_in_the_reference_with_its_default(settings: Any) -> None:
    page = (REFERENCE / "limits.md").read_text()
    for field in fields(settings):
        [value] = re.findall(rf"^\| `{field.name}` \| ([^|]*) \| [^|]+ \|$", page, re.M)
        stated = value.strip().strip("`")
        expected = str(field.default)
        assert stated.replace(",", "") == expected.removesuffix(".0"), field.name


def test_every_picture_is_shown_and_small() -> None:
    shown = set(re.findall(r"!\[[^\]]+\]\([^)\s]*?([\w-]+\.webp)\)", "".join(
        page.read_text() for page in DOCUMENTS
    )))  # fmt: skip
    pictures = {path.name: path.stat().st_size for path in (DOCS / "pictures").glob("*.webp")}
    assert pictures.keys() == shown
    assert max(pictures.values()) < 150_000


def test_every_word_of_the_glossary_is_used_elsewhere() -> None:
    words = re.findall(r"^\*\*(.+?)\*\*", (DOCS / "glossary.md").read_text(), re.M)
    assert words == sorted(words, key=str.lower)
    others = [page for page in DOCUMENTS if page.name != "glossary.md"]
    text = " ".join(re.sub(r"\s+", " ", page.read_text()) for page in others).lower()
    assert [word for word in words if word.lower() not in text] == []


def options_of(line: str) -> set[str]:
    if match := re.search(r"jobs\.(\w+)", line):
        command = job_command(match[1])
    elif (name := line.split()[1]) in generate["job_names"]():
        command = job_command(name)  # by its entry point
    else:
        named = relabel_commands()
        command = named.get(name) or named[" ".join(line.split()[1:3])]
    return {
        option
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }


@cache
def job_command(name: str) -> Any:
    return generate["job_command"](name)


@cache
def relabel_commands() -> dict[str, Any]:
    commands: dict[str, Any] = generate["relabel_commands"]()
    return commands


@cache
def anchors(page: Path) -> set[str]:
    """What headings are linked by, as GitHub makes them; the second of a name gets -1."""
    seen: dict[str, int] = {}
    found = set()
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def sections_of(page: Path) -> dict[str, str]:
    """Heading of the second level -> the text below it."""
    parts = re.split(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def kind_of(kind: pa.DataType) -> str:
    """An Arrow type in the reference's words."""
    if pa.types.is_list(kind):
        return f"list of {kind_of(kind.value_type)}"
    if pa.types.is_map(kind):
        return f"map of {kind_of(kind.key_type)} to {kind_of(kind.item_type)}"
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return "(" + ", ".join(f"{field.name} {kind_of(field.type)}" for field in inner) + ")"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return {"double": "float64"}.get(str(kind), str(kind))
