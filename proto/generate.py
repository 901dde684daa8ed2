"""Regenerates the checked-in Python of the contract.

python proto/generate.py [OUT]     # OUT is the repository root when left out
"""

import sys
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent
PACKAGE = PROTO / "relabel_service" / "v1"


def generate(out: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi and the service's *_pb2_grpc.py under `out`."""
    well_known = Path(protoc.__file__).parent / "_proto"
    include = ["protoc", f"-I{PROTO}", f"-I{well_known}"]
    messages = sorted(str(path) for path in PACKAGE.glob("*.proto"))
    service = str(PACKAGE / "relabel_service.proto")
    for arguments in (
        [f"--python_out={out}", f"--pyi_out={out}", *messages],
        [f"--grpc_python_out={out}", service],
    ):
        if protoc.main(include + arguments) != 0:
            raise SystemExit("protoc failed; its message is above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO.parent)
