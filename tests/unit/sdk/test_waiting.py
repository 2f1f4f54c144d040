"""What code waits for, as it is told: in threads and in event loops, and when the process counts as blocked."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn.sdk import loop_clock
from sojourn.sdk.conditions import Date
from sojourn.sdk.errors import (
    ConfigurationError,
    NotFoundError,
    OutsideRunError,
    PastDateError,
    RunCancelledError,
    UnprocessableError,
    WaitpointTimeoutError,
)
from sojourn.sdk.registry import Registry
from sojourn.sdk.wait import wait
from tests.unit.sdk.waiting_platform import PATIENCE, Platform, token_result


@pytest.fixture
def platform(registry: Registry) -> Iterator[Platform]:
    made = Platform(registry, short=0)
    yield made
    made.close()


# --- in def code


def test_a_wait_for_a_time_blocks_and_returns(platform: Platform) -> None:
    def work() -> str:
        wait.for_(minutes=1, seconds=30)
        return "over"

    before = datetime.now(UTC)
    platform.run(work)
    word = platform.word()
    (told,) = word.waits
    assert (told["key"], told["kind"], word.pending, word.block) == ("1:1", "date", ["1:1"], "any")
    assert before + timedelta(seconds=90) <= datetime.fromisoformat(told["at"]) <= datetime.now(UTC) + timedelta(seconds=90)
    platform.done("1:1")
    assert platform.output == "over"
    assert platform.begun == [Date(seconds=90.0)] == [wait.delay(seconds=90)]


def test_keys_count_on_and_begin_with_the_attempt(platform: Platform) -> None:
    def work() -> None:
        wait.for_(hours=1)
        wait.until(datetime.now(UTC) + timedelta(hours=1))

    platform.run(work, number=4)
    for key in ("4:1", "4:2"):
        assert platform.word().pending == [key]
        platform.done(key)
    assert platform.output is None


def test_nothing_to_wait_for_returns_at_once(platform: Platform) -> None:
    def work() -> str:
        wait.for_(seconds=0)
        wait.for_(seconds=-1)
        wait.until(datetime.now(UTC) - timedelta(days=1))
        wait.until("2020-01-01T00:00:00Z")
        with pytest.raises(PastDateError, match="is over since"):
            wait.until("2020-01-01T00:00:00+00:00", throw_if_in_the_past=True)
        return "over"

    platform.run(work)
    assert platform.output == "over"
    assert not platform.has_said_more() and platform.begun == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: wait.until(datetime(2999, 1, 1, tzinfo=UTC).replace(tzinfo=None)), ConfigurationError, "no time zone"),
        (lambda: wait.until("tomorrow"), ConfigurationError, "'tomorrow' is no date"),
        (lambda: wait.for_(days=float("nan")), ConfigurationError, "is no time to wait"),
        (lambda: wait.for_(weeks=1e9), ConfigurationError, "beyond the year 9999"),
        (lambda: wait.for_token(""), ConfigurationError, "give what wait.create_token gave"),
        (lambda: wait.any(), TypeError, "takes what to wait for"),
        (lambda: wait.all("waitpoint_1"), TypeError, "not 'waitpoint_1'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_waited_for_is_an_error(
    platform: Platform, call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    def work() -> None:
        with pytest.raises(error, match=message):
            call()

    platform.run(work)
    assert platform.output is None


def test_outside_a_run_an_error_says_what_to_do() -> None:
    for call in (lambda: wait.for_(seconds=1), lambda: wait.for_token("waitpoint_1"), lambda: wait.any(wait.run("run_1"))):
        with pytest.raises(OutsideRunError, match="works only inside a run: call it in a task"):
            call()


def test_an_attempt_without_a_platform_cannot_wait(attempt: Callable[..., dict[str, Any]]) -> None:
    assert attempt(lambda: wait.for_(seconds=1), id="work")["error"]["name"] == "OutsideRunError"


def test_a_short_wait_is_slept_in_the_process(registry: Registry) -> None:
    platform = Platform(registry, short=5)
    platform.run(lambda: wait.for_(seconds=0.01))
    assert platform.output is None
    assert not platform.has_said_more() and platform.begun == [wait.delay(seconds=0.01)]


def test_a_short_wait_ends_when_the_run_is_cancelled(registry: Registry) -> None:
    platform = Platform(registry, short=100)
    platform.run(lambda: wait.for_(seconds=99))
    until = time.monotonic() + PATIENCE
    while not platform.begun and time.monotonic() < until:
        time.sleep(0.005)
    platform.attempt.cancel("")
    assert platform.outcome["error"]["code"] == "TASK_RUN_CANCELLED"


def test_a_token_gives_its_data_or_the_error_of_its_time(platform: Platform) -> None:
    def work() -> Any:
        first, second = wait.for_token("waitpoint_1"), wait.for_token("waitpoint_2")
        assert (second.ok, second.output, second.id) == (False, None, "waitpoint_2")
        with pytest.raises(WaitpointTimeoutError, match="too late"):
            second.unwrap()
        return first.unwrap()

    platform.run(work)
    assert platform.word().waits == [{"key": "1:1", "kind": "token", "waitpoint": "waitpoint_1"}]
    platform.done("1:1", **token_result({"by": "Ada"}))
    platform.word()
    platform.done("1:2", ok=False, error={"code": "WAITPOINT_TIMED_OUT", "message": "too late"})
    assert platform.output == {"by": "Ada"}


def test_an_unknown_token_is_an_error(platform: Platform) -> None:
    def work() -> None:
        with pytest.raises(NotFoundError, match="no such token"):
            wait.for_token("waitpoint_x")

    platform.run(work)
    platform.word()
    platform.done("1:1", ok=False, error={"code": "WAITPOINT_NOT_FOUND", "message": "no such token"})
    assert platform.output is None


def test_a_wait_that_the_platform_refuses_raises_there(platform: Platform) -> None:
    def work() -> None:
        with pytest.raises(UnprocessableError, match="too many"):
            wait.for_(days=1)

    platform.run(work)
    platform.attempt.refuse(platform.word().pending, UnprocessableError("too many waits"))
    assert platform.output is None


def test_any_is_over_with_the_first_and_all_with_the_last(platform: Platform) -> None:
    def work() -> Any:
        approval, late = wait.token("waitpoint_1"), wait.delay(days=1)
        first = wait.any(late, approval)
        assert (first.index, first.condition is approval) == (1, True)
        both = wait.all(wait.token("waitpoint_2"), wait.run("run_2"))
        return [first.result.output, both[0].output, both[1].task]

    platform.run(work)
    word = platform.word()
    assert (word.kinds, word.block) == (["date", "token"], "any")
    platform.done("1:2", **token_result(5))
    word = platform.word()
    assert (word.pending, word.block) == (["1:3", "1:4"], "all")
    platform.done("1:4", kind="run", id="run_2", taskIdentifier="child")
    again = platform.word()
    assert (again.waits, again.pending, again.block) == ([], ["1:3"], "any")
    platform.done("1:3", **token_result(6))
    assert platform.output == [5, 6, "child"]


def test_keys_of_idempotency_hold_for_the_run(platform: Platform) -> None:
    platform.run(lambda: wait.for_(days=1, idempotency_key="reminder", idempotency_key_ttl="7d"))
    (told,) = platform.word().waits
    assert len(told["idempotencyKey"]) == 64 and told["idempotencyKeyTTL"] == 604_800
    platform.done("1:1")
    assert platform.output is None


@pytest.mark.parametrize("until", [False, True])
def test_a_short_wait_with_a_key_is_told_so_that_a_later_attempt_knows_it(platform: Platform, until: bool) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    if until:
        platform.run(lambda: wait.until(soon, idempotency_key="soon"))
    else:
        platform.run(lambda: wait.for_(seconds=1, idempotency_key="soon"))
    (told,) = platform.word().waits
    assert told["kind"] == "date" and len(told["idempotencyKey"]) == 64
    platform.done("1:1")
    assert platform.output is None


def test_a_result_that_nobody_waits_for_is_dropped(platform: Platform) -> None:
    platform.run(lambda: wait.for_(days=1))
    platform.word()
    platform.done("1:7")
    platform.done("1:1")
    assert platform.output is None


def test_a_blocked_thread_is_cancelled(platform: Platform) -> None:
    seen: list[str] = []

    def work() -> None:
        try:
            wait.for_(days=1)
        except RunCancelledError:
            seen.append("cancelled")
            raise

    platform.run(work, on_cancel=lambda: seen.append("hook"))
    platform.word()
    platform.attempt.cancel("")
    assert platform.outcome["error"]["code"] == "TASK_RUN_CANCELLED"
    assert seen == ["hook", "cancelled"]


def test_threads_may_wait_at_once_and_the_attempts_own_decides(platform: Platform) -> None:
    def work() -> list[str]:
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(wait.for_, days=1)
            platform.begun_both.wait(PATIENCE)  # type: ignore[attr-defined]
            wait.for_(days=2)
            other.result()
        return ["both"]

    platform.begun_both = threading.Event()  # type: ignore[attr-defined]
    platform.run(work)
    word = platform.word()
    assert (word.pending, word.block) == (["1:1"], None)
    platform.begun_both.set()  # type: ignore[attr-defined]
    word = platform.word()
    assert (word.pending, word.block) == (["1:1", "1:2"], "any")
    platform.done("1:1")
    word = platform.word()
    assert (word.waits, word.pending, word.block) == ([], ["1:2"], "any")
    platform.done("1:2")
    assert platform.output == ["both"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_another_thread_waits_for_ends_no_block(platform: Platform, is_async: bool) -> None:
    blocked = threading.Event()

    async def several() -> None:
        await asyncio.gather(wait.for_(days=2), wait.for_(days=3))

    def other() -> None:
        blocked.wait(PATIENCE)
        if is_async:
            asyncio.run(several())
        else:
            wait.for_(days=2)

    def work() -> str:
        thread = threading.Thread(target=other, name="sojourn-test-other")
        thread.start()
        wait.for_(days=1)
        thread.join(PATIENCE)
        return "both"

    async def async_work() -> str:
        thread = threading.Thread(target=other, name="sojourn-test-other")
        thread.start()
        await wait.for_(days=1)
        await asyncio.to_thread(thread.join, PATIENCE)
        return "both"

    platform.run(async_work if is_async else work)
    assert platform.word().block == "any"
    blocked.set()
    word = platform.word()
    assert (word.block, len(word.pending)) == ("any", 3 if is_async else 2)
    platform.done(*word.pending)
    assert platform.output == "both"


def test_an_exception_that_ends_a_block_is_told(platform: Platform) -> None:
    """A signal handler of the user's, say: the process goes on, so it is not blocked any more."""

    def work() -> str:
        with pytest.raises(ZeroDivisionError):
            wait.for_(days=1)
        return "went on"

    platform.run(work)
    platform.word()
    platform.raise_inside(ZeroDivisionError)
    word = platform.word()
    assert (word.waits, word.pending, word.block) == ([], [], None)
    assert platform.output == "went on"


# --- hooks


def test_hooks_run_around_a_block(platform: Platform) -> None:
    seen: list[Any] = []

    def work() -> None:
        wait.any(wait.token("waitpoint_1"), wait.delay(days=1))
        seen.append("went on")

    platform.run(
        work,
        on_wait=lambda wait, payload, ctx: seen.append(("wait", wait.need, [each.kind for each in wait.conditions])),
        on_resume=lambda: seen.append("resume"),
    )
    platform.word()
    assert seen == [("wait", "any", ["token", "date"])]
    platform.done("1:2")
    assert platform.output is None
    assert seen[1:] == ["resume", "went on"]


@pytest.mark.parametrize("name", ["on_wait", "on_resume"])
def test_a_hook_that_fails_fails_the_wait(platform: Platform, name: str) -> None:
    def broken() -> None:
        raise ValueError("broken hook")

    hook: dict[str, Any] = {name: broken}
    platform.run(lambda: wait.for_(days=1), **hook)
    if name == "on_resume":
        platform.word()
        platform.done("1:1")
    assert platform.outcome["error"]["message"] == "broken hook"


def test_a_hook_may_be_a_coroutine_and_may_wait_itself(platform: Platform) -> None:
    async def remember() -> None:
        await wait.for_(hours=1)

    platform.run(lambda: wait.for_(days=1), on_wait=remember)
    for key in ("1:1", "1:2"):
        assert platform.word().block == "any"
        platform.done(key)
    assert platform.output is None


# --- in async def code


def test_coroutines_wait_at_once(platform: Platform) -> None:
    async def work() -> Any:
        one, _, two = await asyncio.gather(wait.for_token("waitpoint_1"), wait.for_(days=1), wait.for_token("waitpoint_2"))
        return [one.output, two.output]

    platform.run(work)
    word = platform.word()
    assert (word.kinds, word.block) == (["token", "date", "token"], "any")
    platform.done("1:3", **token_result("second"))
    word = platform.word()
    assert (word.waits, word.pending, word.block) == ([], ["1:1", "1:2"], "any")
    platform.done("1:1", "1:2", **token_result("first"))
    assert platform.output == ["first", "second"]


async def _through_group() -> Any:
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(wait.for_token(f"waitpoint_{n}")) for n in range(2)]  # type: ignore[arg-type]  # typed as an awaitable
    return [each.result().output for each in made]


async def _through_wait() -> Any:
    made = [asyncio.create_task(wait.for_token(f"waitpoint_{n}")) for n in range(2)]  # type: ignore[arg-type]  # typed as an awaitable
    await asyncio.wait(made)
    return [each.result().output for each in made]


async def _through_as_completed() -> Any:
    made = [asyncio.create_task(wait.for_token(f"waitpoint_{n}")) for n in range(2)]  # type: ignore[arg-type]  # typed as an awaitable
    return sorted([(await each).output for each in asyncio.as_completed(made)])


async def _through_shield() -> Any:
    return [(await asyncio.shield(wait.for_token(f"waitpoint_{n}"))).output for n in range(2)]


async def _through_wait_for() -> Any:
    return [(await asyncio.wait_for(wait.for_token(f"waitpoint_{n}"), None)).output for n in range(2)]


async def _through_semaphore() -> Any:
    one_at_a_time = asyncio.Semaphore(1)

    async def one(n: int) -> Any:
        async with one_at_a_time:
            return (await wait.for_token(f"waitpoint_{n}")).output

    return list(await asyncio.gather(one(0), one(1)))


async def _through_queue() -> Any:
    results: asyncio.Queue[Any] = asyncio.Queue()

    async def put(n: int) -> None:
        await results.put((await wait.for_token(f"waitpoint_{n}")).output)

    kept = [asyncio.create_task(put(n)) for n in range(2)]
    told = sorted([await results.get() for _ in kept])
    await asyncio.gather(*kept)
    return told


async def _through_nested_gather() -> Any:
    inner = asyncio.gather(wait.for_token("waitpoint_1"))
    outer = await asyncio.gather(wait.for_token("waitpoint_0"), asyncio.shield(inner))
    return [outer[0].output, outer[1][0].output]


async def _through_async_generator() -> Any:
    async def each() -> Any:
        for n in range(2):
            yield (await wait.for_token(f"waitpoint_{n}")).output

    return [one async for one in each()]


async def _through_all() -> Any:
    return [each.output for each in await wait.all(wait.token("waitpoint_0"), wait.token("waitpoint_1"))]


@pytest.mark.parametrize(
    "work",
    [
        _through_group, _through_wait, _through_as_completed, _through_shield, _through_wait_for, _through_semaphore,
        _through_queue, _through_nested_gather, _through_async_generator, _through_all,
    ],
)  # fmt: skip
def test_a_loop_that_can_only_wait_is_blocked_whatever_it_waits_through(
    platform: Platform, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if work is _through_queue:  # other tests of this process have left threads
        monkeypatch.setattr("sojourn.sdk.idle._other_threads", list)
    platform.run(work)
    known: dict[str, int] = {}
    left = {"1:1", "1:2"}
    while left:
        word = platform.word()
        known |= {each["key"]: int(each["waitpoint"][-1]) for each in word.waits}
        if word.block is None:
            continue
        ready = word.pending if word.block == "all" else word.pending[:1]
        platform.attempt.deliver({key: {"ok": True, **token_result(known[key])} for key in ready})
        left -= set(ready)
    assert platform.output == [0, 1]


#: What ends that beside which some code waits.
Ends = list[Callable[[], Any]]
#: Seconds: more than a timer is away that is slept, and less than a day.
NEAR = 900


def _ended(ends: Ends) -> threading.Event:
    """An event of another thread's, which the test sets."""
    over = threading.Event()
    ends.append(over.set)
    return over


async def _beside_a_timer(ends: Ends) -> None:
    ends.append(functools.partial(loop_clock.shift, asyncio.get_running_loop(), NEAR))
    await asyncio.gather(wait.for_(days=1), asyncio.sleep(NEAR))


async def _within_a_time(ends: Ends) -> None:
    ends.append(functools.partial(loop_clock.shift, asyncio.get_running_loop(), NEAR))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(wait.for_(days=1), NEAR)
    await wait.for_(days=1)


async def _beside_a_thread(ends: Ends) -> None:
    await asyncio.gather(wait.for_(days=1), asyncio.to_thread(_ended(ends).wait, PATIENCE))


async def _beside_a_raw_thread(ends: Ends) -> None:
    future = asyncio.get_running_loop().run_in_executor(None, _ended(ends).wait, PATIENCE)
    await asyncio.wait([future, asyncio.create_task(wait.for_(days=1))])  # type: ignore[arg-type]  # typed as an awaitable


async def _beside_a_program(ends: Ends) -> None:
    program = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    assert program.stdin is not None
    ends.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, program.stdin.close))
    await asyncio.gather(wait.for_(days=1), program.wait())


async def _beside_a_socket(ends: Ends) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    reading = asyncio.create_task(reader.read())
    ends.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, reading.cancel))
    await asyncio.wait([reading, asyncio.create_task(wait.for_(days=1))])  # type: ignore[arg-type]  # typed as an awaitable
    writer.close()
    server.close()


async def _beside_a_queue_that_a_thread_fills(ends: Ends) -> None:
    filled: asyncio.Queue[int] = asyncio.Queue()
    loop, over = asyncio.get_running_loop(), _ended(ends)

    def fill() -> None:
        over.wait(PATIENCE)
        loop.call_soon_threadsafe(filled.put_nowait, 1)

    threading.Thread(target=fill).start()
    await asyncio.gather(wait.for_(days=1), filled.get())


@pytest.mark.parametrize(
    "work",
    [
        _beside_a_timer, _within_a_time, _beside_a_thread, _beside_a_raw_thread, _beside_a_program, _beside_a_socket,
        _beside_a_queue_that_a_thread_fills,
    ],
)  # fmt: skip
def test_a_loop_that_something_else_can_wake_is_not_blocked(registry: Registry, work: Any) -> None:
    """A timer that is near, too: waits up to `short` are slept."""
    platform = Platform(registry, short=2 * NEAR)
    ends: Ends = []

    async def run() -> None:
        await work(ends)

    platform.run(run)
    first = platform.word()
    assert first.block is None and first.kinds[0] == "date"
    assert not platform.has_said_more(), "it is not blocked before the other thing is over"
    ends[0]()
    word = platform.word()
    while word.block is None:
        word = platform.word()
    platform.done(*word.pending)
    assert platform.output is None


def test_what_is_done_arrives_in_a_loop_that_is_not_blocked(platform: Platform) -> None:
    async def work() -> str:
        ticking = asyncio.create_task(tick())
        await wait.for_(days=1)
        ticking.cancel()
        return "over"

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.04)

    platform.run(work)
    assert platform.word().block is None
    platform.done("1:1")
    assert platform.output == "over"
    assert not platform.has_said_more()


def test_a_coroutine_that_is_cancelled_waits_no_more(platform: Platform) -> None:
    async def work() -> str:
        waiting = asyncio.create_task(wait.for_(days=1))  # type: ignore[arg-type]  # typed as an awaitable
        await wait.for_(days=2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await wait.for_(days=3)
        return "over"

    platform.run(work)
    assert sorted(platform.word().pending) == ["1:1", "1:2"]
    platform.done(*[key for key in ("1:1", "1:2") if key == platform_key(platform, 2)])
    word = platform.word()
    assert (len(word.waits), len(word.pending), word.block) == (1, 1, "any")
    platform.done(*word.pending)
    assert platform.output == "over"


def platform_key(platform: Platform, days: int) -> str:
    """The key of the wait for so many days."""
    order = [each.seconds for each in platform.begun if isinstance(each, Date)]
    return f"1:{order.index(days * 86_400.0) + 1}"


def test_a_blocked_loop_that_goes_on_by_itself_says_so(platform: Platform) -> None:
    loops: list[Any] = []

    async def work() -> str:
        loops.append(asyncio.get_running_loop())
        await wait.for_(days=1)
        return "over"

    over = threading.Event()

    async def busy() -> None:
        await asyncio.to_thread(over.wait, PATIENCE)

    platform.run(work)
    assert platform.word().block == "any"
    loops[0].call_soon_threadsafe(lambda: loops.append(loops[0].create_task(busy())))
    word = platform.word()
    assert (word.waits, word.pending, word.block) == ([], ["1:1"], None)
    over.set()
    assert platform.word().block == "any"
    platform.done("1:1")
    assert platform.output == "over"


def test_a_blocked_loop_is_cancelled(platform: Platform) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.gather(wait.for_(days=1), wait.for_token("waitpoint_1"))
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    platform.run(work)
    platform.word()
    platform.attempt.cancel("")
    assert platform.outcome["error"]["code"] == "TASK_RUN_CANCELLED"
    assert seen == ["cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
def test_hooks_run_around_a_block_of_a_loop(platform: Platform, is_async: bool) -> None:
    seen: list[Any] = []

    async def work() -> None:
        await asyncio.gather(wait.for_(days=1), wait.for_token("waitpoint_1"))
        seen.append("went on")

    def wait_hook(wait: Any) -> None:
        seen.append((wait.need, len(wait.conditions)))

    def resume_hook() -> None:
        seen.append("resume")

    async def async_wait_hook(wait: Any) -> None:
        await asyncio.sleep(0.01)
        wait_hook(wait)

    async def async_resume_hook() -> None:
        await asyncio.sleep(0.01)
        resume_hook()

    hooks = (async_wait_hook, async_resume_hook) if is_async else (wait_hook, resume_hook)
    platform.run(work, on_wait=hooks[0], on_resume=hooks[1])
    word = platform.word()
    while word.block is None:
        word = platform.word()
    assert seen == [("any", 2)]
    platform.done("1:1", "1:2", **token_result(1))
    assert platform.output is None
    assert seen == [("any", 2), "resume", "went on"]


@pytest.mark.parametrize("name", ["on_wait", "on_resume"])
def test_a_hook_that_fails_fails_the_waits_of_a_loop(platform: Platform, name: str) -> None:
    async def broken() -> None:
        raise ValueError("broken hook")

    async def work() -> None:
        await wait.for_(days=1)

    hook: dict[str, Any] = {name: broken}
    platform.run(work, **hook)
    if name == "on_resume":
        assert platform.word().block == "any"
        platform.done("1:1")
    assert platform.outcome["error"]["message"] == "broken hook"


def test_a_loop_of_a_users_own_is_watched_too(platform: Platform) -> None:
    async def inner() -> str:
        await asyncio.gather(wait.for_(days=1), wait.for_(days=2))
        return "over"

    platform.run(lambda: asyncio.run(inner()))
    assert platform.word().block == "any"
    platform.done("1:1", "1:2")
    assert platform.output == "over"


def test_a_loop_in_another_thread_waits_without_a_block(platform: Platform) -> None:
    async def inner() -> str:
        await asyncio.gather(wait.for_(days=1), wait.for_(days=2))
        return "over"

    def work() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, inner()).result()

    platform.run(work)
    assert platform.word().block is None
    platform.done("1:1", "1:2")
    assert platform.output == "over"


def test_a_thousand_coroutines_are_one_word(platform: Platform) -> None:
    async def work() -> int:
        return len(await asyncio.gather(*(wait.for_(days=1) for _ in range(1_000))))

    platform.run(work)
    word = platform.word()
    assert (len(word.waits), word.block) == (1_000, "any")
    platform.done(*word.pending)
    assert platform.output == 1_000


def test_a_loop_without_a_selector_waits_without_a_block(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.sdk.idle.selector_of", lambda loop: None)

    async def work() -> str:
        await asyncio.gather(wait.for_(days=1), wait.for_(days=2))
        return "over"

    platform.run(work)
    word = platform.word()
    assert (len(word.waits), word.block) == (2, None)
    platform.done(*word.pending)
    assert platform.output == "over"


def test_a_thread_that_waits_longer_than_its_attempt_gets_an_error(platform: Platform) -> None:
    ended: list[BaseException] = []

    def other() -> None:
        try:
            wait.for_(days=1)
        except OutsideRunError as error:
            ended.append(error)

    threads = [threading.Thread(target=other)]
    platform.run(lambda: threads[0].start() or platform.word().kinds)
    assert platform.output == ["date"]
    threads[0].join(PATIENCE)
    assert "is over" in str(ended[0])
