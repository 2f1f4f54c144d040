"""The doctor on a cluster part of whose answers are lost or replaced on the way: it says so, and goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from sojourn.control_plane.cluster import examine
from sojourn.control_plane.embedded.nomad import NomadAgent

RIGHTS = [f"right {name}" for name in ("list-jobs", "read-job", "submit-job", "dispatch-job")]


@contextmanager
def proxy(target: str, replaces: Callable[[str], int]) -> Iterator[str]:
    """In front of Nomad; answers itself by the status that `replaces` gives for a path, 0: passes it on."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = replaces(self.path.partition("?")[0]), b"<html>not Nomad</html>"
            if not status:
                headers = {"X-Nomad-Token": self.headers.get("X-Nomad-Token") or ""}
                told = requests.request(self.command, target + self.path, data=body, headers=headers, timeout=10)
                status, content = told.status_code, told.content
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def states(agent: NomadAgent, replaces: Callable[[str], int]) -> dict[str, str]:
    with proxy(agent.access.address, replaces) as address:
        return {finding.what: finding.state for finding in examine(replace(agent.access, address=address))}


def test_a_proxy_that_passes_everything_on(nomad_agent: NomadAgent) -> None:
    found = states(nomad_agent, lambda path: 0)
    assert "bad" not in found.values() and {found[name] for name in RIGHTS} == {"ok"}


@pytest.mark.parametrize("status", [200, 401, 429, 502])
def test_what_is_answered_by_something_else_shows_nothing(nomad_agent: NomadAgent, status: int) -> None:
    paths = ("/v1/namespace", "/v1/nodes", "/v1/job/", "/v1/agent/members", "/v1/validate")
    found = states(nomad_agent, lambda path: status if path.startswith(paths) else 0)
    assert {found[name] for name in ("namespace", "right node read", "right read-job", "right dispatch-job")} == {"note"}
    assert found["token"] == found["right list-jobs"] == "ok"


def test_a_node_that_has_gone_since_it_was_listed(nomad_agent: NomadAgent) -> None:
    found = states(nomad_agent, lambda path: 404 if path.startswith(("/v1/node/", "/v1/agent/members")) else 0)
    assert found["nodes"] == "ok" and "cgroups" not in found
