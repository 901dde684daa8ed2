"""Commands of `relabel` that other packages bring: train, mine, merge, loop, audit, report.

Each is an entry point of the group COMMANDS that names a typer application of one command, so
that nothing here imports what is built on top of this package. A command's module is imported
when the command is called, not to list it: its help there is its docstring's first sentence.
"""

import ast
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from relabel_service.errors import InvalidInput

COMMANDS = "relabel_service.commands"
EXTRA = "pip install 'relabel-service[mine]'"


class Commands(TyperGroup):
    """The commands of an application, then those that are installed beside it."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *(name for name in installed() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; of an installed one no more than its name and help."""
        found = super().get_command(ctx, cmd_name)
        if found is None and (entry := installed().get(cmd_name)):
            return TyperCommand(cmd_name, help=_about(entry.module))
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, its module imported. Raises as load."""
        name, command, left = super().resolve_command(ctx, args)
        if name is not None and name not in self.commands:
            command = load(installed()[name])
        return name, command, left


def installed() -> dict[str, EntryPoint]:
    """Name -> entry point of each command that a package brings."""
    return {entry.name: entry for entry in entry_points(group=COMMANDS)}


def load(entry: EntryPoint) -> Any:
    """The click command of an entry point.

    Raises InvalidInput saying what to install where its module, or one that it needs, is not.
    """
    try:
        return get_command(entry.load())
    except ModuleNotFoundError as error:
        raise InvalidInput.of(
            entry.name, f"needs {error.name}, which is not installed; {EXTRA}"
        ) from None


def _about(module: str) -> str:
    """The first sentence of a module's docstring, without importing the module."""
    try:
        spec = find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        return f"Not installed: {EXTRA}."
    about = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return about.partition("\n\n")[0].replace("\n", " ")
