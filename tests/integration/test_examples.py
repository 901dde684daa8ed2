"""The notebook of examples/ and the examples of the how-to on predictions run as they are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
HOW_TO = ROOT / "docs/how-to/predictions.md"


def run(sources: list[str], names: dict[str, Any]) -> None:
    for number, source in enumerate(sources, 1):
        exec(compile(source, f"block {number}", "exec"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = json.loads(notebook.read_text("utf-8"))
    assert (written["nbformat"], written["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in written["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    names: dict[str, Any] = {}
    run(["".join(cell["source"]) for cell in cells], names)
    assert (tmp_path / "audit.html").stat().st_size > 1_000
    assert names["wrong"][names["issues"]].mean() > 0.5
    assert len(names["found"].findings) == 24


def test_the_examples_of_predictions_find_wrong_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    run(re.findall(r"```python\n(.*?)```", HOW_TO.read_text("utf-8"), re.DOTALL), names)
    wrong = names["reviews"]["label"].to_numpy() != names["gold"]
    for found in (names["found"], names["judged"]):
        assert wrong[found.findings["id"].astype(int)][:5].all()
    is_red = names["pictures"]["label"].to_numpy() != names["truth"]
    assert is_red[names["shown"].findings["id"].astype(int)][:3].all()
