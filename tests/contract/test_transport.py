"""One body for every transport: the client over HTTP to a real server, and over the in-process testing platform."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sojourn.sdk.batch import batch
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiConnectionError, ApiError, BadRequestError, NotFoundError, UnprocessableError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.queues import Queues
from sojourn.sdk.registry import Registry
from sojourn.sdk.run import RunHandle, Runs, trigger, trigger_and_wait
from sojourn.sdk.schedule_state import Backfill
from sojourn.sdk.schedules import schedules
from sojourn.sdk.task import Task
from sojourn.sdk.testing_platform import Platform
from sojourn.sdk.transport import HttpTransport


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """HTTP in front of a platform. `closes` makes it drop a connection after each answer without saying so."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, platform: Platform):
        super().__init__(("127.0.0.1", 0), Handler)
        self.platform = platform
        self.connections = 0
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.closes = False
        self.answer: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) or None
        self.server.seen.append((self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
        if self.server.answer is not None:
            self.wfile.write(self.server.answer)
            self.close_connection = True
            return
        answer = self.server.platform.answer(Request(self.command, self.path.removeprefix("/base"), {}, body))
        self.send_response(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = self.server.closes

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def serving(platform: Platform) -> Iterator[Server]:
    with Server(platform) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def registry() -> Registry:
    known = Registry()
    known.add(Task(lambda payload: payload, id="echo"))
    known.add(Task(fail, id="mail/fail", retry={"max_attempts": 1}))
    return known


def fail(payload: Any) -> None:
    raise ValueError("no good")


@pytest.fixture
def server(registry: Registry) -> Iterator[Server]:
    with serving(Platform(registry)) as running:
        yield running


@pytest.fixture(params=["in process", "http"])
def client(request: pytest.FixtureRequest, registry: Registry) -> Iterator[Client]:
    if request.param == "in process":
        yield Platform(registry).client()
        return
    with serving(Platform(registry)) as running:
        transport = HttpTransport(running.url)
        yield Client(running.url, "tr_dev_abc", transport=transport)
        transport.close()


# --- the one body


@pytest.mark.parametrize("payload", [None, 1, "\x00 é \ud800", {"a": [1.5, True, None]}, "x" * 300_000])
def test_a_value_goes_there_and_back(client: Client, payload: Any) -> None:
    assert trigger_and_wait("echo", payload, {}, None, client).unwrap() == payload


def test_a_run_that_failed(client: Client) -> None:
    handle = trigger("mail/fail", None, {"tags": ["a"]}, client)
    result = handle.result()
    assert (result.ok, result.task, result.error and result.error["name"]) == (False, "mail/fail", "ValueError")
    run = handle.retrieve()
    assert (run.status, run.is_failed, run.tags) == ("FAILED", True, ("a",))
    assert run.error and run.error["message"] == "no good"


def test_lists_and_filters(client: Client) -> None:
    made = [trigger("echo", number, {"tags": ["a" if number % 2 else "b"]}, client).id for number in range(7)]
    runs = Runs(client)
    assert [run.id for run in runs.list()] == sorted(made, reverse=True)
    assert [run.id for run in runs.list(tag="b", limit=2)] == sorted(made[::2], reverse=True)[:2]
    assert list(runs.list(status="FAILED")) == []


def test_cancel_and_replay(client: Client) -> None:
    handle = trigger("echo", 1, {}, client)
    handle.cancel()
    again = Runs(client).replay(handle.id)
    assert again.id != handle.id
    assert again.result().output == 1


def test_what_is_not_there(client: Client) -> None:
    with pytest.raises(NotFoundError) as refused:
        Runs(client).retrieve("run_none")
    assert refused.value.code == "RUN_NOT_FOUND"
    with pytest.raises(NotFoundError, match="no task 'none'"):
        trigger("none", None, {}, client)
    with pytest.raises(NotFoundError):
        RunHandle("run_none", "echo", client=client).result()


def test_threads_may_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: client.trigger("echo", number)["isCached"], range(40)))
    assert results == [False] * 40


def test_a_batch(client: Client) -> None:
    handle = batch.trigger([("echo", number) for number in range(1_500)] + [("mail/fail", None)], client=client)
    state = handle.retrieve()
    assert (state.status, state.run_count, len(set(state.runs))) == ("COMPLETED", 1_501, 1_501)
    results = handle.results()
    assert [each.output for each in results[:-1]] == list(range(1_500))
    assert [each.ok for each in results[-2:]] == [True, False]
    with pytest.raises(NotFoundError):
        batch.retrieve("batch_none", client=client)


def test_schedules(client: Client) -> None:
    made = schedules.create("echo", "30 8 * * *", deduplication_key="a", timezone="Europe/Berlin", client=client)
    assert (made.type, made.active, made.timezone, made.next_run is None) == ("IMPERATIVE", True, "Europe/Berlin", False)
    assert schedules.create("echo", "0 9 * * *", deduplication_key="a", client=client).id == made.id
    changed = schedules.update(made, "echo", "0 10 * * *", external_id="x", client=client)
    assert (changed.cron, changed.external_id, changed.timezone) == ("0 10 * * *", "x", "UTC")
    assert schedules.deactivate(made, client=client).next_run is None
    assert schedules.activate(made, client=client) == changed == schedules.retrieve(made, client=client)
    assert [each.id for each in schedules.list(client=client)] == [made.id]
    filled = schedules.backfill(made, datetime(2024, 1, 1, tzinfo=UTC), "2024-01-02T23:00:00Z", client=client)
    assert filled == Backfill(ticks=2, created=2)
    again = schedules.backfill(made, "2024-01-01T00:00:00Z", "2024-01-03T23:00:00Z", client=client)
    assert again == Backfill(ticks=3, created=1)
    assert len(list(Runs(client).list(schedule=made.id))) == 3
    with pytest.raises(UnprocessableError, match="five fields"):
        schedules.create("echo", "0 9 * *", deduplication_key="b", client=client)
    assert "Europe/Berlin" in schedules.timezones(exclude_utc=True, client=client)
    schedules.delete(made, client=client)
    with pytest.raises(NotFoundError):
        schedules.retrieve(made, client=client)


def test_queues(client: Client) -> None:
    queues = Queues(client)
    handle = trigger("echo", 1, {"queue": "emails", "concurrency_key": "k"}, client)
    assert handle.result().output == 1
    assert {each.name for each in queues.list()} == {"emails", "task/echo", "task/mail/fail"}
    assert queues.pause("emails").paused
    held = trigger("echo", 2, {"queue": "emails"}, client)
    assert (held.retrieve().status, queues.retrieve("emails").queued) == ("QUEUED", 1)
    with pytest.raises(UnprocessableError, match="emails is paused"):
        held.result()
    assert queues.resume("emails").queued == 0 and held.result().output == 2
    assert queues.override_limit("emails", 3).concurrency_limit == 3
    [key] = queues.override_limit("emails", 0, concurrency_key="k").keys
    assert (key.concurrency_key, key.concurrency_limit) == ("k", 0)
    kept = trigger("echo", 3, {"queue": "emails", "concurrency_key": "k"}, client)
    other = trigger("echo", 4, {"queue": "emails", "concurrency_key": "l"}, client)
    assert (kept.retrieve().status, other.retrieve().status) == ("QUEUED", "COMPLETED")
    assert queues.reset_limit("emails", concurrency_key="k").keys == () and kept.retrieve().status == "COMPLETED"
    assert queues.reset_limit("emails").overridden_at is None
    with pytest.raises(BadRequestError):
        queues.reset_limit("emails")
    with pytest.raises(NotFoundError):
        queues.retrieve("none")
    assert queues.retrieve("task/mail/fail").type == "task"


def test_debounced_triggers_are_one_run(client: Client) -> None:
    wish = {"debounce": {"key": "k", "delay": "5s", "mode": "trailing"}}
    first, second = trigger("echo", 1, wish, client), trigger("echo", 2, wish, client)
    assert first.id == second.id and second.is_cached
    assert first.retrieve().status == "DELAYED"
    assert first.result().output == 2, "who waits lets time pass"
    assert trigger("echo", 3, wish, client).id != first.id


def test_a_held_run_can_be_cancelled(client: Client) -> None:
    handle = trigger("echo", 1, {"debounce": {"key": "k", "delay": "5s"}}, client)
    handle.cancel()
    assert (handle.retrieve().status, handle.result().ok) == ("CANCELED", False)


# --- what HTTP adds


def test_a_connection_is_kept(server: Server) -> None:
    client = Client(server.url, "tr_dev_abc")
    for number in range(20):
        client.trigger("echo", number)
    assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_is_made_anew(server: Server) -> None:
    pauses: list[float] = []
    client = Client(server.url, "tr_dev_abc", sleep=pauses.append)
    server.closes = True
    for number in range(5):
        client.trigger("echo", number)
    assert server.connections == 5
    assert pauses == []
    keys = [headers["x-trigger-request-idempotency-key"] for _, _, headers in server.seen]
    assert len(set(keys)) == 5


def test_the_path_of_the_url_is_kept(server: Server) -> None:
    Client(f"{server.url}/base/", "tr_dev_abc").trigger("echo")
    assert server.seen[0][1] == "/base/api/v1/tasks/echo/trigger"


def test_what_goes_over_the_wire(server: Server) -> None:
    Client(server.url, "tr_dev_abc").trigger("echo", "é")
    method, _, headers = server.seen[0]
    assert method == "POST"
    assert headers["authorization"] == "Bearer tr_dev_abc"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(b'{"payload":"\\u00e9"}'))


def test_no_server_says_how_to_start_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        client = Client(f"http://127.0.0.1:{taken.getsockname()[1]}", "tr_dev_abc", sleep=lambda seconds: None)
        with pytest.raises(ApiConnectionError, match=r"no answer from http://127\.0\.0\.1:\d+: .*sojourn up"):
            client.retrieve("run_1")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    ],
    ids=range(7),
)
def test_whatever_a_server_answers_is_an_api_error(server: Server, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(ApiError):
        Client(server.url, "tr_dev_abc", sleep=lambda seconds: None).retrieve("run_1")


def test_a_silent_server_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = HttpTransport(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ApiConnectionError, match="timed out"):
            transport(Request("GET", "/", timeout=0.05))


def test_an_answer_closes_what_the_server_wants_closed(server: Server) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    transport = HttpTransport(server.url)
    for _ in range(2):
        assert transport(Request("GET", "/")).body == b"{}"
    assert server.connections == 2


def test_a_response_is_the_status_the_headers_in_lower_case_and_the_body(server: Server) -> None:
    server.answer = b"HTTP/1.1 404 Not Found\r\nX-Should-Retry: false\r\nContent-Length: 2\r\n\r\n{}"
    expected = Response(404, {"x-should-retry": "false", "content-length": "2"}, b"{}")
    assert HttpTransport(server.url)(Request("GET", "/")) == expected
