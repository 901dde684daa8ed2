"""Names of a package that are imported when first used (PEP 562): its own import stays cheap."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def attach(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions __getattr__ and __dir__ of a package.

    package: its name, which is imported already. exports: its modules, and the names that it takes
    from each. A type checker needs the same imports under TYPE_CHECKING.
    """
    module_of = {name: module for module, names in exports.items() for name in names}
    attributes = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        attributes[name] = value
        return value

    def names() -> list[str]:
        return sorted({*attributes, *module_of})

    return get, names
