"""Files inside downloaded packages: wheels, source distributions and npm archives."""

import hashlib
import tarfile
import zipfile
from pathlib import Path


def member(package: Path, name: str, *, sha256: str | None = None) -> bytes:
    """One file's bytes. Raises ValueError when it is absent or not the one that sha256 names."""
    data = _from_zip(package, name) if zipfile.is_zipfile(package) else _from_tar(package, name)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256:
        raise ValueError(
            f"{name} in {package} has SHA-256 {digest}, not {sha256}; download the stated release"
        )
    return data


def _from_zip(package: Path, name: str) -> bytes:
    with zipfile.ZipFile(package) as archive:
        if name not in archive.namelist():
            raise ValueError(f"{package} has no file {name}; download the stated release")
        return archive.read(name)


def _from_tar(package: Path, name: str) -> bytes:
    with tarfile.open(package) as archive:
        found = archive.extractfile(name) if name in archive.getnames() else None
        if found is None:
            raise ValueError(f"{package} has no file {name}; download the stated release")
        return found.read()
