"""The client over a transport that a test writes: what is sent, when it is sent again, what errors become."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from sojourn.sdk import context as contexts
from sojourn.sdk import default_client as clients
from sojourn.sdk.aio import AsyncClient
from sojourn.sdk.caller import ATTEMPTS
from sojourn.sdk.client import Client
from sojourn.sdk.context import RunContext
from sojourn.sdk.errors import (
    ApiConnectionError,
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    OutsideRunError,
    PayloadError,
    PermissionDeniedError,
    RateLimitError,
    RunTimeoutError,
    ServerError,
    SubtaskUnwrapError,
    UnprocessableError,
)
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.run import RunHandle, Runs, trigger, trigger_and_wait
from sojourn.sdk.tokens import Token, TokenState
from sojourn.sdk.wait import wait

KEY = "tr_dev_abc"


class Script:
    """A transport that gives its answers in order, the last for ever, and keeps what it was sent."""

    def __init__(self, *answers: Any):
        self.answers = list(answers)
        self.sent: list[Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: Request) -> Response:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body, headers = (*answer, {})[:3]
        return Response(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

    def client(self) -> Client:
        return Client("http://api.test", KEY, transport=self, sleep=self.pauses.append)


TRIGGERED = (200, {"id": "run_1", "isCached": False})


def test_a_trigger_on_the_wire() -> None:
    script = Script(TRIGGERED)
    assert script.client().trigger("mail/send", {"to": "Ada"}, {"tags": ["a"]}) == {"id": "run_1", "isCached": False}
    (request,) = script.sent
    assert (request.method, request.path) == ("POST", "/api/v1/tasks/mail%2Fsend/trigger")
    assert json.loads(request.body or b"") == {"payload": {"to": "Ada"}, "options": {"tags": ["a"]}}
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["x-trigger-api-version"] == "2025-07-16"
    assert request.headers["x-trigger-source"] == "sdk"
    assert "x-trigger-worker" not in request.headers


def test_a_call_that_is_repeated_keeps_its_key_and_another_call_has_another() -> None:
    script = Script(ApiConnectionError("gone"), TRIGGERED)
    client = script.client()
    client.trigger("a")
    client.trigger("a")
    keys = [request.headers["x-trigger-request-idempotency-key"] for request in script.sent]
    assert keys[0] == keys[1] != keys[2]


REPEATED: list[tuple[Any, list[float]]] = [
    (ApiConnectionError("gone"), [1.0, 1.6, 2.56, 4.096]),
    ((500, {}), [1.0, 1.6, 2.56, 4.096]),
    ((409, {}), [1.0, 1.6, 2.56, 4.096]),
    ((408, {}), [1.0, 1.6, 2.56, 4.096]),
    ((503, {}, {"retry-after": "2"}), [2.0] * 4),
    ((503, {}, {"retry-after": "999999999999"}), [30.0] * 4),
    ((503, {}, {"retry-after": "²"}), [1.0, 1.6, 2.56, 4.096]),
    ((404, {}, {"x-should-retry": "true"}), [1.0, 1.6, 2.56, 4.096]),
    ((429, {}, {"x-ratelimit-reset": "soon"}), [1.0, 1.6, 2.56, 4.096]),
    ((400, {}), []),
    ((404, {}), []),
    ((422, {}), []),
    ((500, {}, {"x-should-retry": "false"}), []),
    ((301, b"", {"location": "http://elsewhere"}), []),
]


@pytest.mark.parametrize(("answer", "pauses"), REPEATED, ids=range(len(REPEATED)))
def test_what_is_sent_again_and_when(answer: Any, pauses: list[float]) -> None:
    script = Script(answer)
    with pytest.raises(ApiError):
        script.client().retrieve("run_1")
    assert script.pauses == pytest.approx(pauses)
    assert len(script.sent) == (ATTEMPTS if pauses else 1)


def test_a_rate_limit_is_waited_for_but_not_for_ever() -> None:
    soon, late = (str(int((time.time() + ahead) * 1000)) for ahead in (29, 10_000))
    script = Script((429, {}, {"x-ratelimit-reset": soon}), (429, {}, {"x-ratelimit-reset": late}), (200, {"id": "x"}))
    script.client().cancel("run_1")
    assert 10 < script.pauses[0] <= 30
    assert 30 <= script.pauses[1] <= 31


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, UnprocessableError),
        (429, RateLimitError),
        (502, ServerError),
        (418, ApiError),
    ],
)
def test_errors_say_what_the_api_says(status: int, kind: type[ApiError]) -> None:
    body = {"error": "It is refused.", "code": "SOME_CODE", "field": "options.ttl", "nextStep": "leave it out"}
    with pytest.raises(ApiError) as refused:
        Script((status, body, {"x-should-retry": "false"})).client().retrieve("run_1")
    error = refused.value
    assert type(error) is kind
    assert (error.status, error.code, error.field, str(error)) == (
        status,
        "SOME_CODE",
        "options.ttl",
        "It is refused. (leave it out)",
    )


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_refusal_that_is_not_the_apis_own_is_an_error_all_the_same(body: bytes) -> None:
    with pytest.raises(ServerError) as refused:
        Script((502, body)).client().retrieve("run_1")
    assert len(str(refused.value)) < 400


def test_an_answer_that_is_not_json_is_an_error() -> None:
    with pytest.raises(ApiError, match="the answer is not JSON: <html>"):
        Script((200, b"<html>Sign in</html>")).client().retrieve("run_1")


def test_a_wrong_key_says_where_to_look() -> None:
    with pytest.raises(AuthenticationError, match="check SOJOURN_SECRET_KEY"):
        Script((401, {"error": "no"})).client().retrieve("run_1")


# --- configuration


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("SOJOURN_API_URL", "SOJOURN_SECRET_KEY", "TRIGGER_API_URL", "TRIGGER_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    before = clients.use(None)
    yield
    clients.use(before)


def test_without_a_key_the_error_says_how_to_get_one() -> None:
    with pytest.raises(ConfigurationError, match=r'export SOJOURN_SECRET_KEY=… \(printed by "sojourn up"\)'):
        Client("http://api.test").retrieve("run_1")


@pytest.mark.parametrize("key", ["tr_dev_a\r\nX-Evil: 1", "tr dev", "tr_dev_ä"])
def test_a_key_that_cannot_be_one_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="characters that no key has"):
        Client("http://api.test", key)


@pytest.mark.parametrize("url", ["api.test", "ftp://api.test", "http://", "http://api.test:port"])
def test_a_url_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no API URL"):
        Client(url, KEY).retrieve("run_1")


def test_the_environment_configures_the_default_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clients.default().api_url == "http://127.0.0.1:3030"
    monkeypatch.setenv("TRIGGER_API_URL", "http://older.test")
    assert clients.default().api_url == "http://older.test"
    monkeypatch.setenv("SOJOURN_API_URL", "http://newer.test/")
    first = clients.default()
    assert first.api_url == "http://newer.test"
    assert clients.default() is first


def test_configure_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    configured = clients.configure("http://mine.test", KEY)
    monkeypatch.setenv("SOJOURN_API_URL", "http://newer.test")
    assert clients.default() is configured
    assert clients.use(None) is configured
    assert clients.default().api_url == "http://newer.test"


# --- triggering


@pytest.fixture
def in_a_run() -> Any:
    before = contexts.enter(RunContext({"run": {"id": "run_0"}}))
    yield
    contexts.enter(before)


def test_inside_a_run_the_new_run_is_its_child(in_a_run: None) -> None:
    script = Script(TRIGGERED)
    trigger("hello", 1, {}, script.client())
    assert json.loads(script.sent[0].body or b"") == {"payload": 1, "options": {"parentRunId": "run_0"}}
    assert script.sent[0].headers["x-trigger-worker"] == "true"


def test_inside_a_run_another_client_is_polled_and_its_own_platform_is_needed(in_a_run: None) -> None:
    done = (200, {"ok": True, "id": "run_1", "taskIdentifier": "hello", "output": "2", "outputType": "application/json"})
    script = Script(TRIGGERED, done)
    assert trigger_and_wait("hello", 1, {}, None, script.client()).output == 2
    assert RunHandle("run_1", "hello", client=script.client()).result().output == 2
    for call in (lambda: trigger_and_wait("hello", 1, {}, None), RunHandle("run_1", "hello").result):
        with pytest.raises(OutsideRunError, match="has no platform to wait with"):
            call()


# --- tokens


def test_a_token_on_the_wire() -> None:
    script = Script((200, {"id": "waitpoint_1", "url": "http://api.test/x", "isCached": False}, {"x-trigger-jwt": "jwt"}))
    token = wait.create_token(
        timeout=timedelta(minutes=10), tags="a", idempotency_key=["order", 7], idempotency_key_ttl="1h",
        client=script.client(),
    )  # fmt: skip
    assert token == Token("waitpoint_1", "http://api.test/x", False, "jwt")
    assert (script.sent[0].method, script.sent[0].path) == ("POST", "/api/v1/waitpoints/tokens")
    assert json.loads(script.sent[0].body or b"") == {
        "timeout": "600s", "tags": ["a"], "idempotencyKey": "order-7", "idempotencyKeyTTL": "3600s"
    }  # fmt: skip
    for timeout, sent in ((datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00+00:00"), ("1h30m", "5400s"), (5, "5s")):
        wait.create_token(timeout=timeout, client=script.client())
        assert json.loads(script.sent[-1].body or b"") == {"timeout": sent}


def test_a_token_is_completed_and_looked_at() -> None:
    item = {
        "id": "waitpoint_1", "url": "http://api.test/x", "status": "COMPLETED", "createdAt": "2030-01-01T00:00:00Z",
        "completedAt": "2030-01-02T00:00:00Z", "tags": ["a"], "output": "[1]", "outputType": "application/json",
    }  # fmt: skip
    script = Script((200, {"success": True}), (200, item))
    wait.complete_token("waitpoint_1", {"by": "Ada"}, client=script.client())
    assert script.sent[0].path == "/api/v1/waitpoints/tokens/waitpoint_1/complete"
    assert json.loads(script.sent[0].body or b"") == {"data": {"by": "Ada"}}
    state = wait.retrieve_token("waitpoint_1", client=script.client())
    assert (state.output, state.completed_at, state.timeout_at) == ([1], datetime(2030, 1, 2, tzinfo=UTC), None)
    assert TokenState({**item, "status": "TIMED_OUT", "outputIsError": True}).output is None
    with pytest.raises(PayloadError, match="the token's data is not JSON"):
        wait.complete_token("waitpoint_1", object(), client=script.client())


def test_a_list_of_tokens_goes_on_page_by_page() -> None:
    item = {"id": "waitpoint_1", "status": "WAITING", "createdAt": "2030-01-01T00:00:00Z"}
    script = Script((200, {"data": [item], "pagination": {"next": "c"}}), (200, {"data": [item, item], "pagination": {}}))
    listed = wait.list_tokens(
        status=["WAITING", "COMPLETED"], tags="a", period="1d", created_from=datetime(2030, 1, 1, tzinfo=UTC), limit=2,
        client=script.client(),
    )  # fmt: skip
    assert [each.id for each in listed] == ["waitpoint_1"] * 2
    first, second = (dict(parse_qsl(urlsplit(request.path).query)) for request in script.sent)
    assert first == {
        "filter[status]": "WAITING,COMPLETED", "filter[tags]": "a", "filter[createdAt][period]": "1d",
        "filter[createdAt][from]": "2030-01-01T00:00:00+00:00", "page[size]": "2",
    }  # fmt: skip
    assert second == {**first, "page[after]": "c"}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (object(), "the payload is not JSON"),
        (float("nan"), "the payload has NaN"),
        ("x" * (3 * 1024 * 1024), "the payload has 3145730 bytes as JSON, more than 3145728"),
    ],
)
def test_a_payload_that_cannot_be_sent_is_refused_before_it_is(payload: Any, message: str) -> None:
    script = Script(TRIGGERED)
    with pytest.raises(PayloadError, match=message):
        script.client().trigger("hello", payload)
    assert script.sent == []


def test_an_option_that_cannot_be_sent_is_not_called_a_payload() -> None:
    with pytest.raises(ConfigurationError, match="an option is not JSON"):
        trigger("hello", 1, {"metadata": {"at": object()}}, Script(TRIGGERED).client())


# --- results

NOT_FINISHED = (404, {"error": "not yet", "code": "RUN_NOT_FINISHED"}, {"x-should-retry": "false"})


def test_a_result_is_asked_for_until_it_is_there() -> None:
    done = (
        200,
        {"ok": True, "id": "run_1", "taskIdentifier": "hello", "output": "[1]", "outputType": "application/json"},
    )
    script = Script(NOT_FINISHED, NOT_FINISHED, done)
    result = RunHandle("run_1", "hello", client=script.client()).result()
    assert (result.ok, result.output, result.unwrap()) == (True, [1], [1])
    assert [request.path for request in script.sent] == ["/api/v1/runs/run_1/result?wait=30.000"] * 3
    assert script.pauses == [1.0, 1.0]  # this server does not wait: it must not be asked without end
    assert all(request.timeout == 60 for request in script.sent)


def test_a_failed_run_is_a_result_and_unwrapping_raises() -> None:
    error = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no good"}
    script = Script((200, {"ok": False, "id": "run_1", "taskIdentifier": "hello", "error": error}))
    result = Runs(script.client()).result("run_1")
    assert (result.ok, result.error) == (False, error)
    with pytest.raises(SubtaskUnwrapError, match=r"hello \(run_1\) did not succeed: ValueError: no good") as refused:
        result.unwrap()
    assert refused.value.error == error


def test_a_result_that_is_not_there_in_time() -> None:
    with pytest.raises(RunTimeoutError, match="did not end within 0 s; it goes on"):
        RunHandle("run_1", "hello", client=Script(NOT_FINISHED).client()).result(timeout=0)


def test_an_unknown_run_is_not_waited_for() -> None:
    with pytest.raises(NotFoundError):
        Runs(Script((404, {"error": "none", "code": "RUN_NOT_FOUND"})).client()).result("run_1")


# --- lists


def run_wire(number: int) -> dict[str, Any]:
    return {
        "id": f"run_{number}",
        "status": "COMPLETED",
        "taskIdentifier": "hello",
        "createdAt": "2026-03-04T12:00:00.000Z",
        "isCompleted": True,
        "isSuccess": True,
        "tags": ["a"],
        "durationMs": 7,
    }


@pytest.fixture
def pages() -> Callable[[], Script]:
    first = {"data": [run_wire(1), run_wire(2)], "pagination": {"next": "cursor"}}
    return lambda: Script((200, first), (200, {"data": [run_wire(3)], "pagination": {}}))


def test_a_list_goes_on_page_by_page_as_it_is_read(pages: Callable[[], Script]) -> None:
    script = pages()
    found = Runs(script.client()).list(status=["COMPLETED", "FAILED"], task="hello", tag="a")
    assert script.sent == []
    assert next(found).id == "run_1"
    assert len(script.sent) == 1
    assert [run.id for run in found] == ["run_2", "run_3"]
    assert "filter%5Bstatus%5D=COMPLETED%2CFAILED" in script.sent[0].path
    assert "page%5Bafter%5D=cursor" in script.sent[1].path


@pytest.mark.parametrize(("limit", "requests"), [(0, 0), (1, 1), (2, 1), (3, 2), (9, 2)])
def test_a_limit_asks_for_no_more_than_it_needs(pages: Callable[[], Script], limit: int, requests: int) -> None:
    script = pages()
    assert len(list(Runs(script.client()).list(limit=limit))) == min(limit, 3)
    assert len(script.sent) == requests


def test_a_run_has_its_fields() -> None:
    run = Runs(Script((200, run_wire(1))).client()).retrieve("run_1")
    assert (run.id, run.task, run.is_success, run.tags, run.duration_ms) == ("run_1", "hello", True, ("a",), 7)
    assert run.created_at.isoformat() == "2026-03-04T12:00:00+00:00"
    assert run.started_at is None


LARGE = {"outputPresignedUrl": "http://api.test/api/v1/objects/a"}


def test_a_large_output_is_fetched_when_it_is_read_and_once() -> None:
    script = Script((200, run_wire(1) | LARGE), (200, [1], {"content-type": "application/json"}))
    run = Runs(script.client()).retrieve("run_1")
    assert len(script.sent) == 1 and run.is_success, "who looks for the status has not to fetch megabytes"
    assert [run.output, run.output, run.payload] == [[1], [1], None]
    assert [request.path for request in script.sent] == ["/api/v3/runs/run_1", "/api/v1/objects/a"]


def test_an_output_that_cannot_be_fetched_hides_nothing_else() -> None:
    script = Script((200, run_wire(1) | LARGE), (503, b""), (200, b"[1]", {"content-type": "application/json"}))
    run = Runs(script.client()).retrieve("run_1")
    assert run.status == "COMPLETED"
    with pytest.raises(ApiError, match="HTTP 503"):
        _ = run.output
    assert run.output == [1]
    whole = Script((200, run_wire(1) | LARGE), ApiConnectionError("nobody is there")).client().retrieve_whole("run_1")
    assert whole == run_wire(1) | LARGE


def test_an_address_that_is_over_is_asked_for_anew() -> None:
    newer = {"outputPresignedUrl": "http://api.test/api/v1/objects/b"}
    good = (200, b"[1]", {"content-type": "application/json"})
    script = Script((200, run_wire(1) | LARGE), (403, b""), (200, run_wire(1) | newer), good)
    assert Runs(script.client()).retrieve("run_1").output == [1]
    assert script.sent[-1].path == "/api/v1/objects/b"


def test_an_event_loop_reads_what_was_fetched_before() -> None:
    script = Script((200, run_wire(1) | LARGE), (200, [1], {"content-type": "application/json"}))

    async def retrieved() -> Any:
        async with AsyncClient("http://api.test", KEY, transport=script) as client:
            run = await client.runs.retrieve("run_1")
            sent = len(script.sent)
            return run.output, sent, len(script.sent)

    assert asyncio.run(retrieved()) == ([1], 2, 2)


def test_logs_go_on_until_nothing_follows() -> None:
    script = Script(
        (200, {"lines": [{"n": 1}], "next": "1.1"}), (200, {"lines": [{"n": 2}], "next": "1.2"}), (200, {"lines": []})
    )
    assert [line["n"] for line in Runs(script.client()).logs("run_1")] == [1, 2]
    assert [request.path.partition("?")[2] for request in script.sent] == ["", "after=1.1", "after=1.2"]


def test_a_replay_knows_its_task() -> None:
    script = Script((200, {"id": "run_9"}), (200, run_wire(9)))
    assert Runs(script.client()).replay("run_1") == RunHandle("run_9", "hello")
