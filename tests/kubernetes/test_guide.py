"""The kustomizations printed in docs/how-to/kubernetes.md build, and do what the page says."""

import os
import re
from pathlib import Path

import pytest

from tests.support.kubernetes_schemas import KUBERNETES_VERSIONS, errors_of
from tests.support.manifests import ROOT, Document, pod_templates, render

HERE = "<path or git URL of this repository>"
EXAMPLES = re.findall(
    r"```yaml\n(# kustomization\.yaml.*?)```",
    (ROOT / "docs/how-to/kubernetes.md").read_text("utf-8"),
    re.DOTALL,
)


def build(example: str, folder: Path) -> tuple[Document, ...]:
    repository = os.path.relpath(ROOT, folder)  # kustomize takes no absolute path
    (folder / "kustomization.yaml").write_text(example.replace(HERE, repository), "utf-8")
    return render(str(folder))


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_build_and_are_valid(example: str, tmp_path: Path) -> None:
    documents = build(example, tmp_path)
    newest = KUBERNETES_VERSIONS[-1]
    assert [e for d in documents for e in errors_of(d, version=newest)] == []


def test_an_overlay_changes_image_and_storage_class(tmp_path: Path) -> None:
    site, _ = EXAMPLES
    documents = {d["kind"]: d for d in build(site, tmp_path)}
    assert documents["PersistentVolumeClaim"]["spec"]["storageClassName"] == "fast-ssd"
    for template in pod_templates(documents["RayService"]).values():
        image = template["spec"]["containers"][0]["image"]
        assert image.startswith("registry.example.com/relabel-service/serve:")


def test_a_run_has_its_own_name_and_settings(tmp_path: Path) -> None:
    _, run = EXAMPLES
    [job] = [d for d in build(run, tmp_path) if d["kind"] == "RayJob"]
    assert job["metadata"]["name"] == "relabel-mine-2026-11-24"
    assert "--run-id 2026-11-24" in job["spec"]["entrypoint"]
