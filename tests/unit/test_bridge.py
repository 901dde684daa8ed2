"""What the Label Studio bridge makes of leases and annotations, and how it calls: no server."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel_service.bridge.answers import Answer, answer_of, newest
from relabel_service.bridge.label_config import (
    ASK,
    COMMENT,
    ESCALATE,
    ESCALATED,
    control_of,
    label_config,
)
from relabel_service.bridge.label_studio_api import Gone, LabelStudioApi
from relabel_service.bridge.labeler import Settings
from relabel_service.bridge.media import media_under
from relabel_service.bridge.presence import Presence
from relabel_service.bridge.projects import MAX_TITLE, title_of
from relabel_service.bridge.tasks import Record, Sent, task_of
from relabel_service.errors import InvalidInput, Unauthenticated, Unavailable
from relabel_service.tasks import TASKS, spans
from relabel_service.tasks.boxes import Box, read_boxes, write_boxes
from relabel_service.tasks.spans import Span
from relabel_service.tools.label_studio_controls import CONTROLS
from relabel_service.v1 import campaigns_pb2, items_pb2, leases_pb2
from tests.support.imported import relabel
from tests.support.page_items import page_items

URL = "http://label-studio"
LABELED = sorted({*CONTROLS} - {"click_through_rate"})


def lease_of(task_name: str, **fields: Any) -> leases_pb2.Lease:
    """A lease on a finding of the task. fields: text forms that it has instead of its own."""
    found: dict[str, Any] = {"human_label": "ham", "unit": "", "suggestions": [{"label": "spam"}]}
    found |= page_items()[task_name] | fields
    task = TASKS[task_name]
    suggestions = [
        items_pb2.Suggestion(label=task.label_to_wire(one["label"]), probability=0.8)
        for one in found["suggestions"]
    ]
    item = items_pb2.Item(
        name="campaigns/c/items/0",
        unit=found["unit"],
        content=task.content_to_wire(found["content"]),
        human_label=task.label_to_wire(found["human_label"]),
        suggestions=suggestions,
        suspicion=0.75,
    )
    return leases_pb2.Lease(token="token", item=item)


def pushed(task_name: str, *votes: leases_pb2.Vote, **fields: Any) -> dict[str, Any]:
    lease = lease_of(task_name, **fields)
    lease.votes.extend(votes)
    return task_of(
        lease,
        task=TASKS[task_name],
        control=control_of(task_name),
        media=media_under(),
    )


def answer(task_name: str, task: Mapping[str, Any], *results: Any, **fields: Any) -> Answer:
    record = Record.of(task)
    assert record is not None
    annotation = {"id": 1, "updated_at": "2026-01-01T00:00:00.000001Z", "result": list(results)}
    return answer_of(
        annotation | fields, record, task=TASKS[task_name], control=control_of(task_name)
    )


def decision(given: Answer) -> str:
    assert given.result is not None, given.fault
    return leases_pb2.Decision.Name(given.result.decision).removeprefix("DECISION_").lower()


@pytest.mark.parametrize("task_name", LABELED)
def test_a_prediction_that_is_submitted_as_it_is_confirms_or_accepts(task_name: str) -> None:
    task = pushed(task_name)
    human, model = task["predictions"]
    assert (human["score"], model["score"]) == (0.25, pytest.approx(0.8))
    assert decision(answer(task_name, task, *human["result"])) == "confirm"
    assert decision(answer(task_name, task, *model["result"])) == "accept"


@pytest.mark.parametrize("task_name", LABELED)
def test_blind_items_come_without_the_models_view(task_name: str) -> None:
    task = pushed(task_name, suggestions=[])
    assert [one["model_version"] for one in task["predictions"]] == ["human label"]


@pytest.mark.parametrize("task_name", LABELED)
def test_skips_escalations_comments_and_time(task_name: str) -> None:
    task = pushed(task_name)
    escalated = {"from_name": ESCALATE, "value": {"choices": [ESCALATED]}}
    said = {"from_name": COMMENT, "value": {"text": ["which one?"]}}
    skipped = answer(task_name, task, said, was_cancelled=True, lead_time=2.5)
    assert decision(skipped) == "skip"
    assert skipped.result is not None
    assert (skipped.result.comment, skipped.result.seconds_spent) == ("which one?", 2.5)
    assert decision(answer(task_name, task, escalated)) == "escalate"
    long = answer(task_name, task, escalated, lead_time=1e9).result
    assert long is not None
    assert long.seconds_spent == 86_400


@pytest.mark.parametrize("task_name", LABELED)
def test_records_come_back_from_meta_as_they_were(task_name: str) -> None:
    task = pushed(task_name)
    record = Record.of(task)
    assert record is not None
    assert record.token == "token"
    sent = Record(**{**vars(record), "sent": Sent(1, "digest", False, "why")})
    assert Record.of({"meta": json.loads(json.dumps(sent.to_meta()))}) == sent


@pytest.mark.parametrize("meta", [None, {}, {"relabel": 1}, {"relabel": {"other": 1}}])
def test_tasks_of_others_are_left_alone(meta: object) -> None:
    assert Record.of({"meta": meta}) is None


def test_predictions_that_the_task_rules_out_are_left_out() -> None:
    beyond = pushed("token_classification", suggestions=[{"label": '[[0,99,"PER"]]'}])
    assert [one["model_version"] for one in beyond["predictions"]] == ["human label"]
    flat = write_boxes([Box("car", 5, 5, 5, 9)])
    drawn = pushed("object_detection", suggestions=[{"label": flat}])
    assert [one["model_version"] for one in drawn["predictions"]] == ["human label"]


@pytest.mark.parametrize("task_name", LABELED)
def test_adjudicators_see_each_vote_and_what_was_written(task_name: str) -> None:
    shown = lease_of(task_name).item
    task = pushed(
        task_name,
        leases_pb2.Vote(decision=leases_pb2.DECISION_CONFIRM, label=shown.human_label),
        leases_pb2.Vote(decision=leases_pb2.DECISION_ESCALATE, comment="which one?"),
        leases_pb2.Vote(
            decision=leases_pb2.DECISION_ACCEPT, label=shown.suggestions[0].label, comment="sure"
        ),
        leases_pb2.Vote(decision=leases_pb2.DECISION_SKIP),
    )
    human, model, first, third = task["predictions"]
    assert (first["model_version"], third["model_version"]) == ("vote 1", "vote 3")
    assert (first["result"], third["result"]) == (human["result"], model["result"])
    lines = task["data"][ASK].split(" · ")
    assert lines[-3] == "vote 2: escalated: which one?"
    assert lines[-2].startswith("vote 3: ")
    assert lines[-2].endswith(": sure")
    assert lines[-1] == "vote 4: skipped"
    assert decision(answer(task_name, task, *third["result"])) == "accept"


def test_a_vote_that_is_taken_over_keeps_its_corners_and_its_other_class() -> None:
    drawn = write_boxes(
        [Box("bus", 101.123, 99.987, 299.5, 250.25)]
    )  # the car that is shown is one
    task = pushed(
        "object_detection",
        leases_pb2.Vote(
            decision=leases_pb2.DECISION_RELABEL,
            label=TASKS["object_detection"].label_to_wire(drawn),
        ),
    )
    given = answer("object_detection", task, *task["predictions"][-1]["result"])
    assert decision(given) == "relabel"
    assert given.result is not None
    assert TASKS["object_detection"].label_from_wire(given.result.label) == drawn


def test_a_vote_is_not_taken_for_the_models_view_where_there_is_none() -> None:
    label = TASKS["text_classification"].label_to_wire("spam")
    vote = leases_pb2.Vote(decision=leases_pb2.DECISION_RELABEL, label=label)
    task = pushed("text_classification", vote, suggestions=[])
    [_, prediction] = task["predictions"]
    assert decision(answer("text_classification", task, *prediction["result"])) == "relabel"


def test_clicks_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Label Studio has no control for"):
        control_of("click_through_rate")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([], "--labeler: is not given, nor --adjudicator"),
        (["--labeler", "ann", "--adjudicator", "ann"], "'ann' is named twice"),
        (["--labeler", "ann="], "'ann=' is not NAME or NAME=FILE"),
        (
            ["--labeler", "ann", "--webhook-url", "http://a.example"],
            "--webhook-url: needs --listen",
        ),
        (["--labeler", "ann", "--listen", "127.0.0.1:0", "--once"], "of no use with --once"),
        (["--labeler", "ann", "--listen", "8090"], "'8090' is not HOST:PORT"),
        (["--labeler", "ann", "--poll", "30", "--lease-duration", "60"], "more than a third"),
        (["--labeler", "ann", "--absent-after", "-1"], "give 0 for never"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: list[str], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        relabel("bridge", "label-studio", "--campaign", "round-1", "--token", "b" * 40, *options)


def test_an_adjudicator_needs_a_token_of_its_own_where_there_are_keys() -> None:
    command = ["bridge", "label-studio", "--campaign", "round-1", "--adjudicator", "cid"]
    with pytest.raises(InvalidInput, match="a frontend's answers for labelers alone"):
        relabel("--token", "a.b.c", *command)


tokens = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4), min_size=1,
    max_size=8,
)  # fmt: skip


@given(tokens, st.data())
def test_spans_come_back_as_they_went(content: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start + 1, len(content)))
    control = CONTROLS["token_classification"]
    facts = control.facts(
        items_pb2.Content(tokens=items_pb2.TokensContent(tokens=content)),
        {"text": " ".join(content)},
    )
    label = spans.to_text([Span(start, end, "PER")])
    assert control.label(control.results(label, facts), facts, []) == label


corner = st.floats(0, 600, allow_nan=False)


@given(corner, corner, st.floats(1, 400), st.floats(1, 400))
def test_boxes_come_back_as_they_went(x: float, y: float, width: float, height: float) -> None:
    control, facts = CONTROLS["object_detection"], {"width": 1013, "height": 1999}
    label = write_boxes([Box("car", x, y, x + width, y + height)])
    assert control.label(control.results(label, facts), facts, [label]) == label


def test_a_box_of_an_unknown_picture_is_of_the_size_that_the_browser_saw() -> None:
    control = CONTROLS["object_detection"]
    drawn = {
        "original_width": 200, "original_height": 100,
        "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["car"]},
    }  # fmt: skip
    assert read_boxes(control.label([drawn], {}, [])) == [Box("car", 20, 10, 120, 60)]


NAMES = ["a & b", '"quoted"', "<b>", "5 $", " lead", "x,y", "é😀", "'"]


@pytest.mark.parametrize("task_name", LABELED)
def test_classes_of_any_spelling_are_in_the_configuration(task_name: str) -> None:
    root = ElementTree.fromstring(label_config(control_of(task_name), NAMES))
    named = [one for one in root if one.get("name") == "label"]
    options = [option.get("value") for option in named[0]]
    assert options == (NAMES if task_name != "sequence_generation" else [])


def test_classes_that_would_be_taken_for_variables_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"classes: '\$5' begins with \$"):
        label_config(control_of("text_classification"), ["5", "$5"])


def test_a_projects_title_says_whose_it_is_however_long_the_campaigns_name() -> None:
    campaign = campaigns_pb2.Campaign(name=f"campaigns/{'c' * 60}")
    title = title_of(campaign, "cid", adjudicates=True)
    assert title == "c" * 31 + "… · cid adjudicates"
    assert len(title) == MAX_TITLE
    assert title_of(campaign, "cid", adjudicates=False).endswith("… · cid")
    assert len(title_of(campaign, "n" * 60, adjudicates=False)) == MAX_TITLE
    short = campaigns_pb2.Campaign(name="campaigns/round-1")
    assert title_of(short, "ann", adjudicates=False) == "round-1 · ann"


def test_a_labeler_is_absent_after_the_time_since_the_last_work_or_else_the_first_task() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    presence = Presence(3600.0, now=lambda: moment.timestamp())
    presence.begin([])
    assert not presence.is_overdue
    created = {"created_at": "2026-01-01T11:00:00.000000Z", "annotations": [], "drafts": []}
    presence.begin([created, created | {"created_at": "2026-01-01T11:30:00.000000Z"}])
    assert presence.is_overdue
    presence.see(created | {"drafts": [{"updated_at": "2026-01-01T11:00:00.000001Z"}]})
    assert not presence.is_overdue
    never = Presence(0.0, now=lambda: moment.timestamp())
    never.begin([created])
    assert not never.is_overdue


@pytest.mark.parametrize("absent_after_s", [-1.0, float("inf"), float("nan")])
def test_times_of_absence_are_looked_at(absent_after_s: float) -> None:
    with pytest.raises(InvalidInput, match="give 0 for never"):
        Settings(absent_after_s=absent_after_s)


def test_the_newest_annotation_counts_whoever_made_it() -> None:
    old = {"id": 2, "updated_at": "2026-01-01T00:00:00.000001Z", "completed_by": 1}
    new = {"id": 1, "updated_at": "2026-01-01T00:00:00.000002Z", "completed_by": 2}
    assert newest([new, old]) is new
    assert newest([]) is None


def api(
    answers: Callable[[httpx.Request], httpx.Response], token: str = "b" * 40
) -> LabelStudioApi:
    return LabelStudioApi(URL, token, transport=httpx.MockTransport(answers))


def test_a_personal_token_asks_for_access_again_when_it_is_over() -> None:
    given: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/token/refresh/":
            assert json.loads(request.content) == {"refresh": "a.b.c"}
            given.append(f"access-{len(given)}")
            return httpx.Response(200, json={"access": given[-1]})
        if request.headers["Authorization"] != "Bearer access-1":
            return httpx.Response(401, json={"detail": "expired"})
        return httpx.Response(200, json={"release": "1.23.2"})

    with api(answers, "a.b.c") as connected:
        assert [connected.version(), connected.version()] == ["1.23.2", "1.23.2"]
    assert given == ["access-0", "access-1"]


def test_a_legacy_token_is_sent_as_it_is() -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Token {'b' * 40}"
        return httpx.Response(401, json={"detail": "Invalid token."})

    with pytest.raises(Unauthenticated, match="Account & Settings"):
        api(answers).version()


@pytest.mark.parametrize("failure", [429, 500, 502, "lost"])
def test_calls_are_repeated_but_for_those_that_make_something(
    failure: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relabel_service.bridge.label_studio_api.FIRST_WAIT_S", 0.0)
    methods: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        if len(methods) > 2:
            return httpx.Response(200, json={})
        if isinstance(failure, str):
            raise httpx.ReadError(failure, request=request)
        return httpx.Response(failure, text="database is locked")

    connected = api(answers)
    connected.update_task(1, {"meta": {}})
    assert methods == ["PATCH"] * 3
    methods.clear()
    with pytest.raises(Unavailable):
        connected.import_tasks(1, [{}])
    assert methods == ["POST"]


def importing(
    prediction_count: int, created: int
) -> tuple[list[tuple[str, Any]], Callable[[httpx.Request], httpx.Response]]:
    """Bodies of the calls by their path, and a Label Studio that takes so many predictions."""
    calls: list[tuple[str, Any]] = []

    def answers(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        calls.append((request.url.path, body))
        if request.url.path.endswith("/predictions"):
            return httpx.Response(201, json={"created": created})
        done = {"task_ids": [7, 9][: len(body)], "prediction_count": prediction_count}
        return httpx.Response(201, json=done)

    return calls, answers


TWO: list[dict[str, Any]] = [
    {"data": {}, "predictions": [{"result": [], "score": 0.5}]},
    {"data": {}},
]


def test_predictions_that_an_import_lost_are_sent_to_the_new_tasks() -> None:
    calls, answers = importing(prediction_count=0, created=1)
    assert api(answers).import_tasks(3, TWO) == [7, 9]
    assert calls == [
        ("/api/projects/3/import", TWO),
        ("/api/projects/3/import/predictions", [{"result": [], "score": 0.5, "task": 7}]),
    ]


@pytest.mark.parametrize(("tasks", "count"), [(TWO, 1), (TWO[1:], 0)])
def test_predictions_that_were_taken_are_not_sent_again(tasks: list[Any], count: int) -> None:
    calls, answers = importing(prediction_count=count, created=0)
    api(answers).import_tasks(3, tasks)
    assert [path for path, _ in calls] == ["/api/projects/3/import"]


@pytest.mark.parametrize(("count", "created"), [(0, 0), (2, 1)])
def test_predictions_that_are_neither_there_nor_taken_fail(count: int, created: int) -> None:
    _, answers = importing(prediction_count=count, created=created)
    with pytest.raises(Unavailable, match=f"Label Studio took {count} of 1 predictions"):
        api(answers).import_tasks(3, TWO)


def test_what_is_gone_is_deleted() -> None:
    connected = api(lambda _: httpx.Response(404, json={"detail": "Not found."}))
    connected.delete_task(1)
    connected.delete_project(1)
    connected.delete_prediction(1)


def test_what_is_gone_and_what_is_refused_are_told_apart() -> None:
    codes = iter([404, 400])
    connected = api(lambda _: httpx.Response(next(codes), json={"detail": "no such field"}))
    with pytest.raises(Gone):
        connected.task(1)
    with pytest.raises(InvalidInput, match="no such field"):
        connected.update_project(1, {})


@pytest.mark.parametrize("code", [200, 302, 404])
def test_what_a_gateway_says_is_not_label_studios_word(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relabel_service.bridge.label_studio_api.FIRST_WAIT_S", 0.0)
    connected = api(lambda _: httpx.Response(code, html="<h1>404 page not found</h1>"))
    for call in (connected.delete_task, connected.task, connected.delete_project):
        with pytest.raises(Unavailable, match=f"something before Label Studio .* with {code}"):
            call(1)


def test_pages_are_followed_to_the_last() -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        page, size = (int(request.url.params[name]) for name in ("page", "page_size"))
        rows = list(range(450))[(page - 1) * size : page * size]
        return httpx.Response(200, json={"tasks": rows, "total": 450})

    assert [*map(str, api(answers).tasks(1))] == [*map(str, range(450))]


@pytest.mark.parametrize(("url", "token"), [("label-studio", "x"), (URL, "")])
def test_addresses_and_tokens_are_looked_at(url: str, token: str) -> None:
    with pytest.raises(InvalidInput):
        LabelStudioApi(url, token)
