"""The version a step began with, kept in a file: a repeated step must not take its own result."""

import json
from dataclasses import replace

from cluster.data.rows import Source, latest
from cluster.io.folder import Folder


def pin_version(folder: Folder, name: str, source: Source) -> Source:
    """The source at its latest version of when `name` was first asked for."""
    file = f"{name}.json"
    if not folder.exists(file):
        version = latest(replace(source, version=None)).version
        folder.write(file, json.dumps({"delta_version": version}).encode())
    return latest(replace(source, version=json.loads(folder.read(file))["delta_version"]))
