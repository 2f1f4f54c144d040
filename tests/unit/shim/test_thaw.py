"""What a process closes before it is frozen, and after."""

from __future__ import annotations

import subprocess
import sys

from sojourn.executor_shim import thaw
from sojourn.sdk import default_client
from sojourn.sdk.client import Client
from sojourn.sdk.exchange import Request, Response


class Connections:
    """A transport that says whether it was closed."""

    closed = False

    def __call__(self, request: Request) -> Response:
        raise AssertionError("nothing is called")

    def close(self) -> None:
        self.closed = True


def test_what_the_process_s_client_keeps_open_is_closed() -> None:
    connections = Connections()
    before = default_client.use(Client("http://api.test", "tr_dev_x", transport=connections))
    try:
        thaw.close_idle_connections()
    finally:
        default_client.use(before)
    assert connections.closed


def test_a_process_that_has_called_nothing_loads_no_client() -> None:
    script = "import sys; from sojourn.executor_shim import thaw; thaw.renew(); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = told.stdout.split()
    assert "sojourn.executor_shim.thaw" in loaded and "sojourn.sdk.client" not in loaded
