"""Run names, and the folder where a run keeps its intermediate files beside its findings table."""

from cluster.io.folder import Folder
from relabel_service.errors import InvalidInput


def require_name(run_id: str) -> None:
    """Raises InvalidInput when the name cannot be a run's."""
    if not run_id or "/" in run_id:
        raise InvalidInput.of("run_id", f"{run_id!r} cannot name a run; use letters and digits")


def run_folder(findings_uri: str, run_id: str) -> Folder:
    """Where a run keeps its intermediate files and, once it is finished, its result."""
    return Folder(f"{findings_uri.rstrip('/')}/_runs/{run_id}")
