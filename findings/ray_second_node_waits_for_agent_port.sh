#!/bin/sh
# The second ray.init(address="local") on a machine waits for the port of the first node's agent, and
# then goes on without the agent's HTTP service; nothing tells so but a log file.
#
# Guess before: as a node picks free ports for its other processes, a second local node starts like the
# first.
# Seen with ray 2.60.0 (Linux x86_64, CPython 3.11): the agent of each node wants port 52365, which
# ray.init has no setting for (`ray start` has --dashboard-agent-listen-port). The second node's agent
# tries again and again for 3 s, and ray.init returns only then (3.7 s for the first node, 6.9 s for the
# second, on two cores); its log ends with "The agent will stay alive but the HTTP service will be
# disabled". The first node's log has nothing of the kind.
# Wants a machine on which no other Ray node runs. Fails when the second node's agent gets a port, or the first one does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/nodes.py" <<'PYTHON'
import socket
import subprocess
import sys
from pathlib import Path

import ray

NODE = """
import sys, time
import ray
began = time.monotonic()
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
print(f"{time.monotonic() - began:.1f}", ray._private.worker._global_node.get_session_dir_path(), flush=True)
sys.stdin.readline()  # until the other node has been looked at
"""
NO_SERVICE = "the HTTP service will be disabled"


def start():
    node = subprocess.Popen(
        [sys.executable, "-c", NODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    seconds, session = node.stdout.readline().split()
    log = Path(session, "logs/dashboard_agent.log").read_text()
    print(f"{seconds} s; tries that found the port taken: {log.count('Failed to bind to port')}")
    return node, NO_SERVICE in log


print(f"ray {ray.__version__}")
with socket.socket() as taken:
    if not taken.connect_ex((ray.util.get_node_ip_address(), 52365)):
        raise SystemExit("another Ray node has port 52365: run this where there is none")
first, first_lacks = start()
second, second_lacks = start()
for node in (second, first):
    node.communicate("\n")
print(f"without HTTP service: first {first_lacks}, second {second_lacks}")
if first_lacks or not second_lacks:
    raise SystemExit("the agents of two local nodes no longer want one port: Ray has changed")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" "$folder/nodes.py"
