"""An object store in a process of its own: moto's, which speaks S3's protocol."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs

from tests.support.ports import free_port


@contextmanager
def object_store() -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of an empty bucket, and the environment that tells how to reach it."""
    port = free_port()
    # In a process of its own: a call of delta-rs holds the interpreter that would answer it.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as store:
        assert store.stderr is not None
        while b"Running on" not in store.stderr.readline():
            assert store.poll() is None, "the store did not start"
        drain = threading.Thread(target=store.stderr.read)  # otherwise the pipe fills
        drain.start()
        url = f"http://127.0.0.1:{port}"
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        try:
            files = pyarrow.fs.S3FileSystem(
                endpoint_override=url,
                allow_bucket_creation=True,
                access_key="key",
                secret_key="secret",
                region="us-east-1",
            )
            files.create_dir("noise")
            yield "s3://noise", environment
        finally:
            store.terminate()
            drain.join()
