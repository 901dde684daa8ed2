#!/bin/sh
# An import that finds SQLite locked is answered 201 and has stored the tasks without their predictions.
#
# Guess before: POST /api/projects/ID/import stores tasks with their annotations and predictions in one
# transaction, so that 201 means all of it is there, and a request that found the database locked is
# either refused or done as if it had come later.
# Seen with label-studio 1.23.2 on SQLite, its default (Linux x86_64, CPython 3.11): another program holds
# a write lock until the second attempt begins. Label Studio tries again by itself, after 3 and 6 s
# (retry_database_locked around BaseTaskSerializerBulk.create), but the first attempt had taken
# annotations and predictions out of its input with pop(). The answer is 201 with task_count 2,
# annotation_count 0 and prediction_count 0, and the tasks have neither. Without the lock the same
# request stores 2 of each.
# Fails when they are there after an attempt that was repeated.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid" 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check label-studio==1.23.2
cat > "$folder/import.py" <<'PYTHON'
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import requests

folder = Path(sys.argv[1])
with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
url, token = f"http://127.0.0.1:{port}", "a" * 40
log = folder / "log"
settings = {"LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true", "COLLECT_ANALYTICS": "false"}
settings |= {"LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "LOG_LEVEL": "INFO"}
program = [str(Path(sys.executable).parent / "label-studio"), "start", "--no-browser"]
program += ["--port", str(port), "--data-dir", str(folder / "data")]
program += ["--username", "a@example.org", "--password", "password-1", "--user-token", token]
with log.open("wb") as written:
    process = subprocess.Popen(program, env=os.environ | settings, stdout=written, stderr=written)
(folder / "pid").write_text(str(process.pid))


def call(method, path, body=None):
    headers = {"Authorization": f"Token {token}"}
    done = requests.request(method, url + path, json=body, headers=headers, timeout=600)
    done.raise_for_status()
    return done.json()


while process.poll() is None:
    try:
        print("label-studio", call("GET", "/api/version")["release"])
        break
    except requests.RequestException:
        time.sleep(1)
else:
    raise SystemExit(log.read_text()[-2000:])

config = '<View><Text name="content" value="$text"/><Choices name="label" toName="content">'
config += '<Choice value="ham"/><Choice value="spam"/></Choices></View>'
choice = {"from_name": "label", "to_name": "content", "type": "choices", "value": {"choices": ["ham"]}}
one = {"result": [choice]}
tasks = [{"data": {"text": text}, "annotations": [one], "predictions": [one]} for text in "ab"]
BEGINS = "Try to serialize tasks with annotations"  # the log's line of each attempt


def num_attempts():
    return log.read_text(errors="replace").count(BEGINS)


def imported(lock):
    """Attempts, the counts of the answer, and the annotations and predictions of each task."""
    project = call("POST", "/api/projects/", {"label_config": config})["id"]
    path, answers = f"/api/projects/{project}/import?return_task_ids=true", []
    before = num_attempts()
    importing = threading.Thread(target=lambda: answers.append(call("POST", path, tasks)))
    database = sqlite3.connect(folder / "data/label_studio.sqlite3")
    if lock:
        database.execute("BEGIN IMMEDIATE")
    importing.start()
    while lock and importing.is_alive() and num_attempts() < before + 2:
        time.sleep(0.05)
    database.rollback()
    importing.join()
    [done] = answers
    there = [call("GET", f"/api/tasks/{task}/") for task in done["task_ids"]]
    counts = [done[name] for name in ("task_count", "annotation_count", "prediction_count")]
    stored = [(len(task["annotations"]), len(task["predictions"])) for task in there]
    return num_attempts() - before, counts, stored


for lock in (False, True):
    seen = imported(lock)
    print(f"locked: {lock}; attempts: {seen[0]}; answer: {seen[1]}; stored: {seen[2]}")
    assert (seen[0] > 1) == lock, "Label Studio has changed"
    wanted = ([2, 0, 0], [(0, 0)] * 2) if lock else ([2, 2, 2], [(1, 1)] * 2)
    assert seen[1:] == wanted, "Label Studio has changed"
PYTHON
"$folder/venv/bin/python" "$folder/import.py" "$folder"
