"""The checked-in contract is what proto/ says, and proto/ follows the rules."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "proto/generate.py", tmp_path], check=True)
    fresh = {
        path.relative_to(tmp_path): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    kept = {
        path.relative_to(ROOT): path.read_bytes()
        for path in (ROOT / "relabel_service/v1").glob("*pb2*")
        if path.suffix in (".py", ".pyi")
    }
    assert fresh == kept


def test_protos_pass_buf_standard_lint() -> None:
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, "lint"], cwd=ROOT / "proto", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_proto_folder_never_becomes_a_package() -> None:
    # proto-plus, which Ray installs, owns the import name `proto`.
    assert not list((ROOT / "proto").rglob("__init__.py"))
