"""How fast the Label Studio bridge hands tasks out and takes annotations: texts, one labeler.

    python -m bench.bridge --items 100

A real Label Studio (SQLite) and a real service on this machine; the annotations are made before
their taking is measured.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from relabel_service import Client
from relabel_service.bridge.hints import Pace
from relabel_service.bridge.label_studio import Bridge, Labeler
from relabel_service.bridge.labeler import Settings
from tests.support.campaigns import write_findings
from tests.support.label_studio import LabelStudioPerson, LabelStudioProcess
from tests.support.servers import ServerProcess

MAX_SHARE = 4  # the service lets one labeler hold a quarter of a campaign


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100)
    items = parser.parse_args().items
    folder = Path(tempfile.mkdtemp())
    studio_folder = folder / "label-studio"
    studio_folder.mkdir()
    with (
        ServerProcess(folder) as server,
        LabelStudioProcess(studio_folder) as studio,
        Client(server.address, labeler="admin") as client,
    ):
        uri = write_findings(folder, MAX_SHARE * items)
        client.create_campaign("bench", findings_uri=uri, run_id="run")

        def run_round(window: int) -> None:
            Bridge(
                "bench",
                [Labeler("ann", lambda: Client(server.address, labeler="ann"))],
                studio.api,
                Settings(window=window),
                Pace(),
                lambda line: None,
            ).run(threading.Event(), once=True)

        pushed_s = seconds(lambda: run_round(items))
        with studio.api() as api:
            [project] = list(api.projects())
            ann = LabelStudioPerson(api, project["id"])
            tasks = list(api.tasks(ann.project))
            result = {"from_name": "label", "to_name": "content", "type": "choices"}
            annotated_s = seconds(
                lambda: [
                    ann.annotate(task, {**result, "value": {"choices": ["spam"]}}) for task in tasks
                ]
            )
        taken_s = seconds(lambda: run_round(0))
        num_results = client.stats("bench").num_results
    assert len(tasks) == num_results == items
    print(f"pushed {items / pushed_s:.1f} tasks/s, taken {items / taken_s:.1f} answers/s;")
    print(f"Label Studio itself took {items / annotated_s:.1f} annotations/s, one after the other")


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
