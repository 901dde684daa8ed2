#!/bin/sh
# A task that is given its GPU by .options(num_gpus=...) runs in a process that goes on to the next task,
# with what it holds on the GPU; one that is decorated with num_gpus has a process of its own.
#
# Guess before: max_calls "by default is infinite for CPU tasks and 1 for GPU tasks" (ray.remote's
# documentation), so any task with a GPU ends its process, however it was asked for.
# Seen with ray 2.60.0 (Linux x86_64, CPython 3.11): two tasks one after the other, on a node that says it
# has a GPU (none was at hand: only the processes were looked at). Decorated: two processes. By .options():
# one process for both.
# The default is decided when a function is decorated, and .options() takes no max_calls.
# Fails when the processes of both kinds are treated alike.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/tasks.py" <<'PYTHON'
import os

import ray


@ray.remote(num_gpus=1)
def decorated():
    return os.getpid()


@ray.remote
def plain():
    return os.getpid()


print(f"ray {ray.__version__}")
ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
by_options = plain.options(num_gpus=1)
pids = {
    "decorated": [ray.get(decorated.remote()) for _ in range(2)],
    ".options()": [ray.get(by_options.remote()) for _ in range(2)],
}
nums = {how: len(set(each)) for how, each in pids.items()}
for how, num in nums.items():
    print(f"{how}: two tasks, {num} process{'es' * (num > 1)}")
if nums != {"decorated": 2, ".options()": 1}:
    raise SystemExit("Ray has changed")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ray==2.60.0"
RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" "$folder/tasks.py"
