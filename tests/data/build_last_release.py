"""The code of the last release that a database must still serve while replicas are replaced.

    python tests/data/build_last_release.py

Writes last_release.tar.xz: relabel_service's queue, server and what they import, from the commit
COMMIT of this repository (schema 0006, the newest before these steps only expand). The test that
runs it needs no history, so that a shallow clone will do.
"""

import lzma
import subprocess
from pathlib import Path

COMMIT = "b5b4ecb"
ARCHIVE = Path(__file__).with_name("last_release.tar.xz")
FOLDERS = ("media", "queue", "server", "tables", "tasks", "v1", "votes", "wire")
PATHS = [
    *(f"relabel_service/{name}" for name in ("__init__.py", "errors.py", *FOLDERS)),
    ":(exclude)relabel_service/tables/formats",
    ":(exclude,glob)**/*.pyi",
]


def main() -> None:
    tar = subprocess.run(
        ["git", "archive", COMMIT, "--", *PATHS], check=True, capture_output=True, cwd=ROOT
    ).stdout
    ARCHIVE.write_bytes(lzma.compress(tar, preset=9))


ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    main()
