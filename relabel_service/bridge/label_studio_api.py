"""Label Studio's REST API, as far as the bridge needs it: projects, tasks, annotations.

Owns who calls (legacy and personal tokens) and how Label Studio's failures become RelabelErrors.
It knows nothing of campaigns. Written against Label Studio 1.23.2.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from relabel_service.errors import InvalidInput, NotFound, Unauthenticated, Unavailable

TIMEOUT_S = 60.0
MAX_ATTEMPTS = 4  # of a call that may be repeated
FIRST_WAIT_S = 0.2  # doubled before each further attempt
PAGE_SIZE = 200
SHOWN = 500  # characters of a response in an error
# Of a response to a call whose end is not known, or that may pass: gateways and SQLite's locks.
PASSING = (408, 429, 500, 502, 503, 504)

Json = dict[str, Any]


class Gone(NotFound):
    """A project or task that is not in Label Studio, or not any more."""


class LabelStudioApi:
    """Safe to use from several threads.

    token: a personal access token (a JWT, which access tokens of 300 s are asked for with), or a
    legacy one.
    Calls raise Unavailable where Label Studio cannot be reached, Unauthenticated, Gone, and
    InvalidInput for what it refuses.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """transport: in the place of the network, for tests."""
        if not url.startswith(("http://", "https://")):
            raise InvalidInput.of("--url", f"{url!r} is not an address; give http(s)://host:port")
        if not token:
            raise InvalidInput.of(
                "--token", "is empty; copy one from Label Studio's page Account & Settings"
            )
        self.url = url.rstrip("/")
        self._token = token
        self._is_personal = token.count(".") == 2
        self._access = ""
        self._http = httpx.Client(timeout=timeout_s, transport=transport)

    def __enter__(self) -> "LabelStudioApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def version(self) -> str:
        return str(self._call("GET", "/api/version").get("release", ""))

    def projects(self) -> Iterator[Json]:
        """All that the token's user may see, page by page."""
        yield from self._pages("/api/projects/", {}, key="results")

    def create_project(self, fields: Mapping[str, Any]) -> Json:
        return dict(self._call("POST", "/api/projects/", body=fields, repeat=False))

    def update_project(self, project: int, fields: Mapping[str, Any]) -> None:
        self._call("PATCH", f"/api/projects/{project}/", body=fields)

    def delete_project(self, project: int) -> None:
        self._delete(f"/api/projects/{project}/")

    def webhooks(self, project: int) -> list[Json]:
        return [dict(one) for one in self._call("GET", "/api/webhooks/", {"project": project})]

    def create_webhook(self, fields: Mapping[str, Any]) -> None:
        self._call("POST", "/api/webhooks/", body=fields, repeat=False)

    def update_webhook(self, webhook: int, fields: Mapping[str, Any]) -> None:
        self._call("PATCH", f"/api/webhooks/{webhook}/", body=fields)

    def delete_webhook(self, webhook: int) -> None:
        self._delete(f"/api/webhooks/{webhook}/")

    def tasks(self, project: int, *, since: str = "") -> Iterator[Json]:
        """Tasks with their annotations and drafts; with `since`, those that changed then or later.

        since: UTC as 2026-11-30T05:09:46.023633Z; a time without microseconds is refused. A task's
        updated_at changes with its annotations, and not with its drafts.
        """
        query: Json = {"ordering": ["tasks:id"]}
        if since:
            later = {
                "filter": "filter:tasks:updated_at",
                "operator": "greater_or_equal",
                "type": "Datetime",
                "value": since,
            }
            query["filters"] = {"conjunction": "and", "items": [later]}
        parameters = {"project": project, "fields": "all", "query": json.dumps(query)}
        yield from self._pages("/api/tasks/", parameters, key="tasks")

    def task(self, task: int) -> Json:
        """One task with annotations, predictions and drafts."""
        return dict(self._call("GET", f"/api/tasks/{task}/", {"resolve_uri": "false"}))

    def import_tasks(self, project: int, tasks: Sequence[Json]) -> list[int]:
        """The new tasks' ids. Never repeated: where it raises Unavailable, look what is there.

        On SQLite, Label Studio (1.23.2) itself repeats an import that found the database locked,
        and stores the tasks of the second attempt without their predictions: these are sent again.
        """
        path = f"/api/projects/{project}/import"
        done = self._call("POST", path, {"return_task_ids": "true"}, body=list(tasks), repeat=False)
        numbers = [int(number) for number in done.get("task_ids", ())]
        _require_all("tasks", len(numbers), len(tasks))
        predictions = [
            {**prediction, "task": number}
            for number, task in zip(numbers, tasks, strict=True)
            for prediction in task.get("predictions", ())
        ]
        if predictions and not done["prediction_count"]:
            self.import_predictions(project, predictions)
        else:
            _require_all("predictions", done["prediction_count"], len(predictions))
        return numbers

    def import_predictions(self, project: int, predictions: Sequence[Json]) -> None:
        """Add predictions to the tasks whose ids they have under "task". Never repeated.

        Raises Unavailable also where they are refused: somebody deletes a task at the same time.
        """
        path = f"/api/projects/{project}/import/predictions"
        try:
            created = self._call("POST", path, body=list(predictions), repeat=False)["created"]
        except InvalidInput as error:
            raise Unavailable(str(error)) from error
        _require_all("predictions", created, len(predictions))

    def delete_prediction(self, prediction: int) -> None:
        self._delete(f"/api/predictions/{prediction}/")

    def update_task(self, task: int, fields: Mapping[str, Any]) -> None:
        self._call("PATCH", f"/api/tasks/{task}/", body=fields)

    def delete_task(self, task: int) -> None:
        self._delete(f"/api/tasks/{task}/")

    def _delete(self, path: str) -> None:
        """What is not there is deleted: the call, or Label Studio's own repetition of it, may have
        done so before."""
        with suppress(Gone):
            self._call("DELETE", path)

    def _pages(self, path: str, parameters: Mapping[str, Any], *, key: str) -> Iterator[Json]:
        page, num_seen = 1, 0
        while True:
            found = self._call("GET", path, {**parameters, "page": page, "page_size": PAGE_SIZE})
            rows = found[key]
            yield from rows
            num_seen += len(rows)
            if not rows or num_seen >= int(found.get("count", found.get("total", 0))):
                return
            page += 1

    def _call(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        repeat: bool = True,
    ) -> Any:
        """The response's JSON; {} of an empty one. repeat: whether it may be sent again."""
        for number in range(1, MAX_ATTEMPTS + 1):
            try:
                response = self._send(method, path, parameters, body)
                return _json(method, path, response)
            except Unavailable:
                if not repeat or number == MAX_ATTEMPTS:
                    raise
                time.sleep(FIRST_WAIT_S * 2 ** (number - 1))
        raise AssertionError("unreachable")

    def _send(
        self, method: str, path: str, parameters: Mapping[str, Any] | None, body: Any
    ) -> httpx.Response:
        """The response; a personal token's access is asked for anew where it is over."""
        for is_renewed in (False, True):
            response = self._request(
                method, path, params=parameters, json=body, headers=self._headers(is_renewed)
            )
            if response.status_code != httpx.codes.UNAUTHORIZED or not self._is_personal:
                break
        return response

    def _headers(self, renew: bool) -> dict[str, str]:
        if not self._is_personal:
            return {"Authorization": f"Token {self._token}"}
        if renew or not self._access:
            response = self._request("POST", "/api/token/refresh/", json={"refresh": self._token})
            self._access = str(_json("POST", "/api/token/refresh/", response)["access"])
        return {"Authorization": f"Bearer {self._access}"}

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        options = {name: value for name, value in options.items() if value is not None}
        try:
            return self._http.request(method, self.url + path, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"Label Studio at {self.url} cannot be reached: {error}") from error


def _require_all(things: str, num_taken: int, num_sent: int) -> None:
    if num_taken != num_sent:
        raise Unavailable(f"Label Studio took {num_taken} of {num_sent} {things}")


def _json(method: str, path: str, response: httpx.Response) -> Any:
    code, said = response.status_code, response.text[:SHOWN]
    if code in PASSING:
        raise Unavailable(f"Label Studio answered {method} {path} with {code}: {said}")
    if not _is_credible(response):
        raise Unavailable(
            f"something before Label Studio answered {method} {path} with {code}: {said}; Label "
            "Studio answers in JSON: look at its address, and at what stands between"
        )
    if code == httpx.codes.FORBIDDEN:
        raise Unauthenticated(
            f"Label Studio forbids {method} {path}: {said}; if it means the token, copy one of "
            "somebody who may from its page Account & Settings"
        )
    if code == httpx.codes.UNAUTHORIZED:
        raise Unauthenticated(
            f"Label Studio refuses the token at {method} {path} ({code}: {said}); copy a valid one "
            "from its page Account & Settings"
        )
    if code == httpx.codes.NOT_FOUND:
        raise Gone(f"Label Studio has no {path}")
    if response.is_error:
        raise InvalidInput.of(f"{method} {path}", f"Label Studio refuses it ({code}): {said}")
    return response.json() if response.content else {}


def _is_credible(response: httpx.Response) -> bool:
    """Whether that something is done, or gone, is Label Studio's word, which is JSON or nothing. A
    gateway may say it of every path. (Refusals of Label Studio's may be plain text: 1.23.2.)"""
    if response.is_success and not response.content:
        return True
    if response.is_success or response.is_redirect or response.status_code == httpx.codes.NOT_FOUND:
        return str(response.headers.get("content-type")).startswith("application/json")
    return True
