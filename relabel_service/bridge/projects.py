"""One project of Label Studio for each labeler of a campaign.

A project is found again by a line in its description: titles may be changed. The open edition
cannot give tasks to people, and `completed_by` of an annotation is whatever its sender says, so
who answered is known by the project.
"""

from relabel_service.bridge.label_studio_api import Json, LabelStudioApi
from relabel_service.bridge.tasks import HUMAN
from relabel_service.v1 import campaigns_pb2

MAX_TITLE = 50  # Label Studio's
MARK, ADJUDICATES = "relabel-bridge", "relabel-bridge-adjudicates"


def mark(campaign: campaigns_pb2.Campaign, labeler: str, *, adjudicates: bool) -> str:
    """The line that tells whose project it is, and of which campaign of that name."""
    begins = ADJUDICATES if adjudicates else MARK
    return f"{begins} {campaign.name} {campaign.incarnation} {labeler}"


def find_project(api: LabelStudioApi, marked: str) -> int | None:
    """The one that is marked so, and has tasks; others that have none are deleted.

    On SQLite, Label Studio (1.23.2) itself repeats a request that found the database locked, and
    what the first attempt stored may stay: one call may make two projects.
    """
    found = sorted(
        (not project.get("task_number"), int(project["id"]))
        for project in api.projects()
        if marked in (project.get("description") or "").splitlines()
    )
    for is_empty, project in found[1:]:
        if is_empty:
            api.delete_project(project)
    return found[0][1] if found else None


def title_of(campaign: campaigns_pb2.Campaign, labeler: str, *, adjudicates: bool) -> str:
    """As much of the campaign's id as there is room for beside who it is for."""
    person = f" · {labeler} adjudicates" if adjudicates else f" · {labeler}"
    campaign_id, room = campaign.name.rpartition("/")[2], max(MAX_TITLE - len(person), 1)
    if len(campaign_id) > room:
        campaign_id = f"{campaign_id[: room - 1]}…"
    return f"{campaign_id}{person}"[:MAX_TITLE]


def create_project(api: LabelStudioApi, marked: str, *, title: str, config: str) -> int:
    """title: of MAX_TITLE characters at most."""
    fields: Json = {
        "title": title,
        "description": f"Made by `relabel bridge label-studio`; keep the next line.\n{marked}",
        "label_config": config,
        "sampling": "Sequential sampling",  # in the order of ids: as leased, worst first
        "skip_queue": "IGNORE_SKIPPED",  # a skip is an answer, and the task is not shown again
        "maximum_annotations": 1,
        "show_collab_predictions": True,
        "model_version": HUMAN,  # what annotations begin with
        "show_skip_button": True,
        "enable_empty_annotation": True,  # "there is none" is an answer
    }
    made = int(api.create_project(fields)["id"])
    return find_project(api, marked) or made
