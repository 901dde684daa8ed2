"""No test is forgotten: each folder of tests belongs to `make test` or to `make test-bench`."""

import re
import tomllib
from pathlib import Path

from tests.support.sharing import STARTS, unit_of

ROOT = Path(__file__).parents[2]


def folders_with_tests() -> set[str]:
    found = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    return {folder.relative_to(ROOT).as_posix() for folder in found}


def test_every_folder_of_tests_is_run_by_one_make_target() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    product = settings["tool"]["pytest"]["ini_options"]["testpaths"]
    targets = dict(re.findall(r"^([\w-]+):.*\n\t\$\(BIN\)/pytest ?(.*)$", makefile(), re.M))
    assert "tests" not in targets["test"]  # pytest takes its testpaths
    assert sorted([*product, *targets["test-bench"].split()]) == sorted(folders_with_tests())


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def test_files_that_start_the_same_stay_in_one_process() -> None:
    folder = ROOT / "tests/integration"
    units = {file.name: unit_of(file) for file in folder.glob("test_*.py")}
    assert units["test_wire.py"] == units["test_page.py"] == "service"
    assert units["test_mine.py"] == units["test_train.py"] == "ray"
    assert unit_of(Path(__file__)) == __file__  # others are shared one by one
    shared = (folder / "conftest.py").read_text()
    assert all(f"def {name}(" in shared for names in STARTS.values() for name in names)
