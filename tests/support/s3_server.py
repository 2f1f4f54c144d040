"""A real S3 server over HTTP, by moto, in a process of its own; one for a session of tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sojourn.control_plane.embedded.free_ports import free_ports

#: What boto3 finds in the environment; the server does not look at it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key-of-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests"}
_PATIENCE = 90.0


@dataclass(frozen=True, slots=True)
class S3Server:
    """`endpoint` as SOJOURN_OBJECT_STORE names it."""

    endpoint: str

    def bucket(self, name: str) -> str:
        """A new bucket; its address as the setting takes it."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=_PATIENCE).close()
        return f"s3://{name}/images?endpoint={self.endpoint}&region=us-east-1"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Starts one on a free port, and ends it."""
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, **CREDENTIALS, "S3_UPLOAD_PART_MIN_SIZE": "0"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, port)
        yield S3Server(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "the S3 server of the tests ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the S3 server of the tests does not answer")
