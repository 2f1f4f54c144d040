"""An image that cannot be read for a while is not an image that is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.executor_shim import freezing, thawing
from sojourn.executor_shim.thawing import NotThawed


class Store:
    """Answers with these statuses, one after the other; with the last one from then on. 0: it hangs up."""

    def __init__(self) -> None:
        self.statuses = [503]
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = store.statuses.pop(0) if len(store.statuses) > 1 else store.statuses[0]
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(freezing, "obstacle", lambda: None)
    monkeypatch.setattr(freezing, "node_type", lambda criu: "here")
    monkeypatch.setattr(thawing, "_PAUSE", 0.05)
    made = Store()
    yield made
    made.server.shutdown()
    made.server.server_close()


def told(store: Store, lease: float = 1.0) -> str:
    """The code of what came of it; it is tried for half of the lease."""
    settings: Any = SimpleNamespace(
        api_url=f"http://127.0.0.1:{store.server.server_port}", credential="c", executor="executor_1", lease=lease
    )
    thaw = {"checkpoint": "checkpoint_1", "key": "a" * 44, "context": "c", "nodeType": "here", "sealedBytes": 1}
    nothing: Any = SimpleNamespace(thaw=None, ahead=lambda environment: None, forget=lambda: None)
    with pytest.raises(NotThawed) as failed:
        thawing.restore({"run": {"id": "run_1"}, "token": "t", "thaw": thaw}, settings, nothing, nothing)
    return failed.value.code


@pytest.mark.parametrize("statuses", [[503], [500], [429], [0]])
def test_a_store_that_stays_away_is_not_the_image_s_fault(store: Store, statuses: list[int]) -> None:
    store.statuses = statuses
    assert told(store) not in ("CHECKPOINT_INVALID", "THAW_FAILED")


def test_a_store_that_comes_back_is_waited_for(store: Store) -> None:
    store.statuses = [503, 0, 503, 404]
    assert told(store, lease=120) == "CHECKPOINT_INVALID", "the fourth answer counts"


def test_a_disk_that_is_full_is_not_the_image_s_fault(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(thawing, "_fetch", full)
    assert told(store) == "TASK_EXECUTION_ABORTED"
