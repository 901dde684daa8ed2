#!/bin/sh
# A gauge of ray.util.metrics that is set once is shown for a while, and then no more; a counter stays.
#
# Guess before: as with Prometheus's own client, a gauge keeps its last value until it is set again or
# its process ends.
# Seen with ray 2.60.0 (Linux x86_64, CPython 3.11): an actor sets a gauge and a counter once and lives
# on. Both appear at the node's metrics port within a second (the actor exports every second here, every
# ten by default); 20 s after it was set the gauge's series is gone, and the counter's is still there.
# Setting the gauge again brings it back.
# Fails when the gauge stays for 60 s, or the counter goes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/gauge.py" <<'PYTHON'
import socket
import time
import urllib.request

import ray
from ray.util.metrics import Counter, Gauge

with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
ray.init(
    num_cpus=1,
    _metrics_export_port=port,
    _system_config={"metrics_report_interval_ms": 1000},
    configure_logging=False,
    log_to_driver=False,
)


@ray.remote
class Measured:
    def __init__(self):
        self.gauge, self.counter = Gauge("seen_gauge"), Counter("seen_counter")
        self.counter.inc(1)

    def set_gauge(self):
        self.gauge.set(7)


def shown():
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    starts = [line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")]
    return ("ray_seen_gauge" in starts, "ray_seen_counter_total" in starts)


def seconds_until(wanted, within):
    began = time.monotonic()
    while time.monotonic() - began < within:
        try:
            if shown() == wanted:
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"gauge, counter {wanted} were not seen within {within} s: Ray has changed")


measured = Measured.remote()
ray.get(measured.set_gauge.remote())
print(f"ray {ray.__version__}")
print(f"both there: {seconds_until((True, True), 120):.1f} s after the gauge was set")
print(f"counter alone: {seconds_until((False, True), 60):.1f} s later")
ray.get(measured.set_gauge.remote())
print(f"both again: {seconds_until((True, True), 30):.1f} s after it was set again")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" "$folder/gauge.py"
