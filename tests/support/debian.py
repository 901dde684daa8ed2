"""Programs of another Debian release than this machine's: unpacked, not installed.

    python -m tests.support.debian     # brings all that the tests need, as `make tools` does

Each runs with its own release's libraries, by its own loader. Needs a Debian machine with apt
and a mirror, but no rights.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / "build/debian"
PACKAGES = (("trixie", "pgbouncer"),)  # release, package
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = f"{LIBRARIES}/ld-linux-x86-64.so.2"
# Scripts and programs of their own, which no library of a program needs.
NOT_NEEDED = ("postgresql-common", "init-system-helpers")


def command(release: str, package: str, program: str) -> list[str]:
    """How a program of the package is run. Raises RuntimeError where it is not unpacked."""
    root = UNPACKED / release / package
    if not root.exists():
        raise RuntimeError(f"{root} is missing; run `make tools`, which unpacks {package} there")
    return [str(root / LOADER), "--library-path", str(root / LIBRARIES), str(root / program)]


def unpack(release: str, package: str) -> None:
    """Download the package with the libraries that it needs, and unpack all under UNPACKED."""
    root = UNPACKED / release / package
    if root.exists():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        work = Path(folder)
        apt = _Apt(work, release)
        apt.run("apt-get", "update")
        wanted = [package, *apt.libraries_of(package)]
        apt.run("apt-get", "download", *(f"{name}/{release}" for name in wanted))
        for archive in sorted(work.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", archive, work / "root"], check=True)
        shutil.move(work / "root", root)


class _Apt:
    """apt with one release's lists, in a folder of their own."""

    def __init__(self, folder: Path, release: str) -> None:
        self._folder = folder
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "sources.list").write_text(
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
            f"{_mirror()} {release} main\n"
        )
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "",  # the folder is this user's
        }
        self._options = [f"-o{name}={value}" for name, value in settings.items()]

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [program, "-qq", *self._options, *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def libraries_of(self, package: str) -> list[str]:
        """Packages that it needs, and that those need: without what only scripts use."""
        relations = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        needed: set[str] = set()
        left = [package]
        while left:
            told = self.run("apt-cache", "depends", *(f"--no-{each}" for each in relations), *left)
            found = set(re.findall(r"^ +(?:Pre)?Depends: ([\w.+-]+)$", told, re.MULTILINE))
            left = sorted(found - needed - {package, *NOT_NEEDED})
            needed.update(left)
        return sorted(needed)


def _mirror() -> str:
    """The address that this machine takes Debian's packages from."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(COMPONENT)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    sites = re.findall(r"^(\S+/debian/?) main$", told, re.MULTILINE)
    if not sites:
        raise RuntimeError(f"apt names no mirror of Debian, but: {told}")
    return str(sites[0])


if __name__ == "__main__":
    for release, package in PACKAGES:
        unpack(release, package)
