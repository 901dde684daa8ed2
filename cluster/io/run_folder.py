"""What writes findings runs under a name, and keeps beside the table what is not whole yet."""

from cluster.io.folder import Folder
from relabel_service.errors import InvalidInput


def require_name(run_id: str) -> None:
    """Raises InvalidInput when it names no run."""
    if not run_id or "/" in run_id:
        raise InvalidInput.of("run_id", f"{run_id!r} names no run; use letters and digits")


def work_folder(findings_uri: str, run_id: str) -> Folder:
    """Where a run keeps what is not whole yet."""
    return Folder(f"{findings_uri.rstrip('/')}/_runs/{run_id}")
