"""Makes this night's RayJob of a suspended one, with the date (UTC) in its name and settings.

    python submit.py relabel-nightly     # in a pod whose ServiceAccount may read and make RayJobs

DATE in the entrypoint becomes the date. A RayJob of that name that is there already is left as it
is. The new one belongs to the Job that this runs in (JOB_NAME, JOB_UID), and is deleted with it.
"""

import datetime
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path(
    os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount")
)
TIMEOUT_S = 30.0


def main(template: str) -> None:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = f"{template}-{date}"
    spec = call("GET", f"/{template}")["spec"]
    spec |= {"suspend": False, "entrypoint": spec["entrypoint"].replace("DATE", date)}
    owner = {"name": os.environ["JOB_NAME"], "uid": os.environ["JOB_UID"]}
    metadata = {
        "name": name,
        "labels": {"app.kubernetes.io/part-of": "relabel-service"},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", **owner}],
    }
    kind = {"apiVersion": "ray.io/v1", "kind": "RayJob"}
    try:
        call("POST", "", kind | {"metadata": metadata, "spec": spec})
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        print(f"{name} is there already")
    else:
        print(f"{name} is made")


def call(method: str, path: str, body: object = None) -> Any:
    """The API server's answer about RayJobs of this namespace. Raises HTTPError, URLError."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    if ":" in host:
        host = f"[{host}]"  # IPv6
    namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
    request = urllib.request.Request(
        f"https://{host}:{port}/apis/ray.io/v1/namespaces/{namespace}/rayjobs{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(SERVICE_ACCOUNT / 'token').read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    trusted = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trusted) as answer:
        return json.load(answer)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except urllib.error.HTTPError as error:
        sys.exit(f"error: the API server says {error.code}: {error.read().decode()}")
    except urllib.error.URLError as error:
        sys.exit(f"error: the API server does not answer: {error.reason}")
