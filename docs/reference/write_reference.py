"""Writes the reference pages that follow from the code: python docs/reference/write_reference.py

commands.md comes from the commands' own options, grpc.md from the comments of the .proto
files and the roles in server/auth.py. tests/unit/test_docs.py fails where a page on disk
differs from what this module renders, so an option cannot be added without its line here.
"""

import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the project's own modules, wherever this is started

from typer.main import get_command  # noqa: E402

from relabel_service.cli.main import app as relabel  # noqa: E402
from relabel_service.server.auth import ALLOWED  # noqa: E402

HERE = Path(__file__).parent
NOTE = "<!-- written by docs/reference/write_reference.py: change the code and run it again -->"
PROTOS = ("relabel_service", "campaigns", "leases", "items", "labels")


def job_names() -> list[str]:
    """Names of what `python -m jobs.NAME` runs: modules, and packages with a __main__."""
    modules = [p.stem for p in (ROOT / "jobs").glob("*.py") if p.stem != "__init__"]
    return sorted(modules + [p.parent.name for p in (ROOT / "jobs").glob("*/__main__.py")])


def job_command(name: str) -> Any:
    """The click command of a job. Imports the job, hence torch."""
    is_package = (ROOT / "jobs" / name).is_dir()
    module = import_module(f"jobs.{name}.__main__" if is_package else f"jobs.{name}")
    return get_command(module.app)


def relabel_commands() -> dict[str, Any]:
    """Name of each `relabel` subcommand, with its group's before it -> its click command."""
    found = {}
    for name, command in get_command(relabel).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        if below is None:
            found[name] = command
        else:
            found |= {f"{name} {inner}": one for inner, one in below.items()}
    return found


def commands_page() -> str:
    """Every job and every `relabel` command with all of their options."""
    lines = [
        "# Commands",
        "",
        NOTE,
        "",
        "Each command prints the same with `--help`. A job is started on one machine as shown, or",
        "submitted to a Ray cluster: `ray job submit --working-dir . -- python -m jobs.mine …`.",
        "`relabel train`, `mine`, `merge`, `loop`, `audit`, `report` are the jobs of these names.",
        "Every job may be repeated: it continues what was cut off, or returns the stored result.",
        "",
    ]
    for name in job_names():
        lines += _command(f"python -m jobs.{name}", job_command(name))
    lines += ["## relabel", "", "These options stand before the subcommand's name.", ""]
    lines += _options(get_command(relabel))
    for name, command in relabel_commands().items():
        lines += _command(f"relabel {name}", command)
    return "\n".join(lines).rstrip() + "\n"


def grpc_page() -> str:
    """Every RPC with the roles that may call it, and every message and enum of the contract."""
    texts = {name: _proto(name) for name in PROTOS}
    service = texts["relabel_service"]
    about = "\n".join(_comment_above(service, "service RelabelService"))
    lines = ["# gRPC", "", NOTE, "", about, "", "Roles are those of a token's `role` claim; "]
    lines[-1] += "[Limits](limits.md) has the bounds. Fields keep their numbers between versions."
    lines += ["", "| RPC | roles | what it does |", "|---|---|---|"]
    pattern = r"rpc (\w+)\((\w+)\) returns \((stream )?(\w+)\)"
    for rpc, request, stream, response in re.findall(pattern, service):
        words = " ".join(_comment_above(service, f"rpc {rpc}("))
        streams = " Streams its answer." if stream else ""
        roles = ", ".join(sorted(ALLOWED[rpc]))
        lines.append(
            f"| [`{rpc}`](#{request.lower()}) → [`{response}`](#{response.lower()}) "
            f"| {roles} | {words}{streams} |"
        )
    lines.append("")
    for name in PROTOS:
        lines += [f"## {name}.proto", ""]
        lines += [line for block in _blocks(texts[name]) for line in block]
    return "\n".join(lines).rstrip() + "\n"


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands_page, "grpc.md": grpc_page}


def _command(title: str, command: Any) -> list[str]:
    about = re.sub(r"\s*\n\s*", " ", (command.help or "").strip())
    return [f"## {title}", "", about, "", *_options(command)]


def _options(command: Any) -> list[str]:
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for parameter in command.params:
        names = " ".join(f"`{name}`" for name in _names(parameter))
        lines.append(f"| {names} | {_default(parameter)} | {_meaning(parameter)} |")
    return [*lines, ""]


def _names(parameter: Any) -> list[str]:
    if not parameter.opts[0].startswith("-"):
        return [parameter.opts[0].upper()]
    return [*parameter.opts, *parameter.secondary_opts]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if default is None or default == "" or default == []:
        return ""
    if parameter.is_flag if hasattr(parameter, "is_flag") else False:
        names = parameter.opts if default else parameter.secondary_opts
        return f"`{names[0]}`" if names else ""
    return f"`{getattr(default, 'value', default)}`"


def _meaning(parameter: Any) -> str:
    text = str(parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    if parameter.multiple:
        text += " (may be given several times)" if "again" not in text else ""
    if parameter.envvar:
        text += f" (or the environment's {parameter.envvar})"
    return text


def _proto(name: str) -> str:
    return (ROOT / f"proto/relabel_service/v1/{name}.proto").read_text("utf-8")


def _comment_above(text: str, start: str) -> list[str]:
    """Lines of the comment just above the line that begins with `start`."""
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(start))
    first = at
    while first and lines[first - 1].strip().startswith("//"):
        first -= 1
    return [line.strip().removeprefix("//").strip() for line in lines[first:at]]


def _blocks(text: str) -> Iterator[list[str]]:
    """Markdown of each message and enum: heading, comment, a table of fields or values."""
    for kind, name, body in re.findall(r"^(message|enum) (\w+) \{\n(.*?)^\}", text, re.M | re.S):
        about = " ".join(_comment_above(text, f"{kind} {name} {{"))
        columns = "field | type" if kind == "message" else "value | number"
        rows = list(_fields(body) if kind == "message" else _values(body))
        yield [
            f"### {name}",
            "",
            *([about, ""] if about else []),
            *([f"| {columns} | meaning |", "|---|---|---|", *rows, ""] if rows else []),
        ]


def _fields(body: str) -> Iterator[str]:
    for comment, kind, name in _entries(body, r"((?:repeated )?[\w.<>, ]+?) (\w+) = \d+;"):
        yield f"| `{name}` | {_type(kind)} | {comment} |"


def _values(body: str) -> Iterator[str]:
    for comment, name, number in _entries(body, r"(\w+) = (\d+);"):
        yield f"| `{name}` | {number} | {comment} |"


def _entries(body: str, pattern: str) -> Iterator[tuple[str, str, str]]:
    """(comment, first group, second group) of each entry, in order."""
    comment: list[str] = []
    for line in map(str.strip, body.split("\n")):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
        elif match := re.fullmatch(pattern, line):
            yield " ".join(comment).replace("|", "\\|"), match[1], match[2]
            comment = []
        elif line.startswith("oneof"):
            comment.append("One of these:")


def _type(kind: str) -> str:
    """The field's type, as a link where it is one of the contract's own."""
    bare = kind.removeprefix("repeated ")
    repeated = "repeated " if bare != kind else ""
    is_own = bare[0].isupper() and "." not in bare
    return f"{repeated}[`{bare}`](#{bare.lower()})" if is_own else f"{repeated}`{bare}`"


def main() -> None:
    for name, render in PAGES.items():
        (HERE / name).write_text(render(), "utf-8")


if __name__ == "__main__":
    main()
