"""Builds label_studio/*.json: exports of a real Label Studio, one for each task.

    python -m tests.data.build_label_studio_exports /tmp/label-studio/bin/label-studio

The program is installed as bench/label_studio.py says. Each project is made from what
`relabel export --to label-studio` writes for the task's finding (tests/support/page_items.py):
Label Studio takes the configuration and the tasks, an annotator begins from the human label in one
task, from the model's in the next, and skips the last; the export is kept as the server gives it.
"""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from bench.label_studio import call, label_studio
from tests.support.campaigns import write_findings
from tests.support.imported import relabel
from tests.support.label_studio import LEGACY_TOKEN
from tests.support.page_items import page_items

OUT = Path(__file__).parent / "label_studio"
NUM_ITEMS = 3


def main(program: str) -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        with label_studio(Path(program), data, num_tasks=1) as studio:
            for task, fields in page_items().items():
                exported = _export(studio.address, task, fields, Path(folder) / task)
                name = OUT / f"{task}.json"
                name.write_bytes(exported)
                print(f"{name}: {len(exported):,} bytes")


def _export(address: str, task: str, fields: dict[str, Any], folder: Path) -> bytes:
    folder.mkdir()
    if task == "audio_classification":  # 16 kB; a storage of the project would show it
        fields = fields | {"content": "s3://bucket/sound.wav"}
    findings = write_findings(folder, NUM_ITEMS, task=task, **fields)
    relabel("export", findings, folder / "out", "--to", "label-studio", "--run-id", "run")
    config = (folder / "out/label_config.xml").read_text()
    project = call(address, "/api/projects", {"title": task, "label_config": config})["id"]
    tasks = json.loads((folder / "out/tasks.json").read_text())
    taken = call(address, f"/api/projects/{project}/import?return_task_ids=true", tasks)
    assert taken["prediction_count"] == 2 * NUM_ITEMS, taken
    for number, task_id in enumerate(taken["task_ids"]):
        result = tasks[number]["predictions"][number % 2]["result"]
        skips = number == NUM_ITEMS - 1
        call(
            address,
            f"/api/tasks/{task_id}/annotations/",
            {"result": [] if skips else result, "was_cancelled": skips, "lead_time": 3.5},
        )
    request = urllib.request.Request(
        f"{address}/api/projects/{project}/export?exportType=JSON&download_all_tasks=true",
        headers={"Authorization": f"Token {LEGACY_TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return bytes(response.read())


if __name__ == "__main__":
    main(sys.argv[1])
