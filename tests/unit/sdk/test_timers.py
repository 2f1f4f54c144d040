"""Event loops with timers: when they count as blocked, when timers are due, and what a freeze does to their clocks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn.sdk import idle, loop_clock, loop_watch
from sojourn.sdk.errors import UnprocessableError
from sojourn.sdk.loop_clock import LoopClock, clock_of
from sojourn.sdk.registry import Registry
from sojourn.sdk.wait import wait
from tests.unit.sdk.waiting_platform import PATIENCE, Platform, token_result

HOUR = 3_600
#: What ends that for which some code waits beside a wait.
Ends = list[Callable[[], Any]]


@pytest.fixture
def platform(registry: Registry) -> Iterator[Platform]:
    made = Platform(registry, short=0)
    yield made
    made.close()


class Frozen:
    """What a process sees of having been frozen: the wall clock has gone on, and the monotonic one has not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.seconds = 0.0
        real = time.time
        monkeypatch.setattr("sojourn.sdk.waiting.time", self)
        self.time = lambda: real() + self.seconds
        self.monotonic = time.monotonic

    def freeze(self, platform: Platform, seconds: float) -> None:
        self.seconds += seconds
        platform.attempt.thawed()


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Frozen:
    return Frozen(monkeypatch)


def token() -> Any:
    return wait.for_token("waitpoint_1")


def later(platform: Platform, seconds: float) -> None:
    """So much time goes by for the attempt's event loop, and for nothing else."""
    [watch] = platform.attempt.context.waiting._watches.values()
    loop_clock.shift(watch.loop, seconds)


# --- blocked


async def _within_a_time() -> Any:
    return (await asyncio.wait_for(token(), HOUR)).output


async def _within_a_time_twice() -> Any:
    return (await asyncio.wait_for(asyncio.wait_for(token(), 2 * HOUR), HOUR)).output


async def _gathered_within_a_time() -> Any:
    return (await asyncio.wait_for(asyncio.gather(token(), asyncio.sleep(0)), HOUR))[0].output


async def _shielded_within_a_time() -> Any:
    return (await asyncio.wait_for(asyncio.shield(token()), HOUR)).output


async def _in_a_timeout() -> Any:
    async with asyncio.timeout(HOUR):
        return (await token()).output


async def _in_a_timeout_at() -> Any:
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + HOUR), asyncio.TaskGroup() as group:
        made = group.create_task(token())
    return made.result().output


async def _beside_a_sleep() -> Any:
    sleeping = asyncio.create_task(asyncio.sleep(HOUR))
    told = await token()
    sleeping.cancel()
    return told.output


async def _beside_a_sleep_that_is_waited_for() -> Any:
    sleeping = asyncio.create_task(asyncio.sleep(HOUR))
    done, _ = await asyncio.wait([asyncio.create_task(token()), sleeping], return_when=asyncio.FIRST_COMPLETED)
    sleeping.cancel()
    return done.pop().result().output


async def _beside_a_sleep_in_a_generator() -> Any:
    async def ticks() -> Any:
        while True:
            await asyncio.sleep(HOUR)
            yield

    async def tick() -> None:
        async for _ in ticks():
            raise AssertionError

    ticking = asyncio.create_task(tick())
    told = await token()
    ticking.cancel()
    return told.output


async def _waited_for_some_time() -> Any:
    done, _ = await asyncio.wait([asyncio.create_task(token())], timeout=HOUR)
    return done.pop().result().output


async def _as_completed_within_a_time() -> Any:
    (only,) = asyncio.as_completed([token()], timeout=HOUR)
    return (await only).output


async def _beside_a_call() -> Any:
    asyncio.get_running_loop().call_later(HOUR, print)
    return (await token()).output


async def _beside_a_call_that_is_days_away() -> Any:
    """A loop's selector is asked for a day at most."""
    asyncio.get_running_loop().call_later(HOUR, print).cancel()
    asyncio.get_running_loop().call_later(1_000 * HOUR, print)
    return (await token()).output


@pytest.mark.parametrize(
    ("work", "hours"),
    [
        *[(each, 1) for each in (
            _within_a_time, _within_a_time_twice, _gathered_within_a_time, _shielded_within_a_time, _in_a_timeout,
            _in_a_timeout_at, _beside_a_sleep, _beside_a_sleep_that_is_waited_for, _beside_a_sleep_in_a_generator,
            _waited_for_some_time, _as_completed_within_a_time, _beside_a_call,
        )],
        (_beside_a_call_that_is_days_away, 1_000),
    ],
)  # fmt: skip
def test_a_loop_with_timers_is_blocked_until_the_first(platform: Platform, work: Any, hours: int) -> None:
    before = datetime.now(UTC)
    platform.run(work)
    word = platform.word()
    (asked, timer) = word.waits
    assert (asked["kind"], timer["kind"], word.pending, word.block) == ("token", "date", ["1:1", "1:2"], "any")
    due = datetime.fromisoformat(timer["at"]) - timedelta(hours=hours)
    assert before <= due <= datetime.now(UTC)
    assert [each.kind for each in platform.begun] == ["token"], "code waits for no date"
    platform.done("1:1", **token_result("told"))
    assert platform.output == "told"
    assert not platform.has_said_more()


@pytest.mark.parametrize("work", [_within_a_time, _in_a_timeout, _beside_a_sleep, _waited_for_some_time, _beside_a_call])
def test_timers_that_are_near_are_slept(registry: Registry, work: Any) -> None:
    platform = Platform(registry, short=HOUR + 1)
    platform.run(work)
    word = platform.word()
    assert (len(word.waits), word.block) == (1, None)
    platform.done("1:1", **token_result("told"))
    assert platform.output == "told"


async def _for_a_future_of_a_thread(ends: Ends) -> None:
    over = threading.Event()
    ends.append(over.set)
    future = asyncio.get_running_loop().run_in_executor(None, over.wait, PATIENCE)
    await asyncio.gather(token(), asyncio.wait_for(future, HOUR))


async def _for_a_future_that_a_timer_sets(ends: Ends) -> None:
    """And that whoever else has it could set."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(HOUR, future.set_result, None)
    loop.call_later(HOUR / 4, future.cancel)
    ends.append(lambda: loop_clock.shift(loop, HOUR / 4))
    await asyncio.gather(token(), asyncio.wait([future]))


async def _for_a_program(ends: Ends) -> None:
    program = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    assert program.stdin is not None
    ends.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, program.stdin.close))
    await asyncio.gather(token(), asyncio.wait_for(program.wait(), HOUR))


@pytest.mark.parametrize("work", [_for_a_future_of_a_thread, _for_a_future_that_a_timer_sets, _for_a_program])
def test_what_may_come_before_a_timer_keeps_a_loop_from_being_blocked(registry: Registry, work: Any) -> None:
    platform = Platform(registry, short=HOUR / 2)
    ends: Ends = []

    async def run() -> None:
        await work(ends)

    platform.run(run)
    assert platform.word().block is None
    ends[0]()
    assert platform.word().block == "any"
    platform.done("1:1", **token_result(1))
    assert platform.output is None


def test_sleeps_alone_keep_the_place(platform: Platform) -> None:
    """Whoever waits by Python's own means has not asked for his process to be frozen."""

    async def work() -> str:
        await wait.for_(days=1)
        await asyncio.sleep(0.3)
        return "over"

    platform.run(work)
    assert platform.word().pending == ["1:1"]
    platform.done("1:1")
    assert platform.output == "over"
    assert not platform.has_said_more()


def test_a_loop_with_a_clock_of_its_own_is_not_blocked_by_its_timers(platform: Platform) -> None:
    class Strange(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() * 2

    def work() -> Any:
        with asyncio.Runner(loop_factory=Strange) as runner:
            return runner.run(_within_a_time())

    platform.run(work)
    word = platform.word()
    assert (len(word.waits), word.block) == (1, None)
    platform.done("1:1", **token_result("told"))
    assert platform.output == "told"


# --- which timer is told


def test_a_timer_that_is_earlier_is_told_instead(platform: Platform) -> None:
    loops: list[Any] = []

    async def work() -> Any:
        loops.append(asyncio.get_running_loop())
        loops[0].call_later(2 * HOUR, print)
        return (await token()).output

    platform.run(work)
    assert platform.word().pending == ["1:1", "1:2"]
    loops[0].call_soon_threadsafe(lambda: loops[0].call_later(2 * HOUR - 0.5, print))  # as good as the same
    loops[0].call_soon_threadsafe(lambda: loops[0].call_later(3 * HOUR, print))
    loops[0].call_soon_threadsafe(lambda: loops[0].call_later(HOUR, print))
    word = platform.word()
    assert (word.kinds, word.pending, word.block) == (["date"], ["1:1", "1:3"], "any")
    assert 0 < (datetime.fromisoformat(word.waits[0]["at"]) - datetime.now(UTC)).total_seconds() <= HOUR
    platform.done("1:1", **token_result("told"))
    assert platform.output == "told"
    assert not platform.has_said_more()


def test_a_timer_that_is_gone_is_not_waited_for_by_the_next_block(platform: Platform) -> None:
    async def work() -> None:
        await asyncio.wait_for(token(), HOUR)
        await asyncio.wait_for(token(), 2 * HOUR)
        await token()

    platform.run(work)
    for pending in (["1:1", "1:2"], ["1:3", "1:4"], ["1:5"]):
        word = platform.word()
        assert (word.pending, word.block) == (pending, "any")
        platform.done(pending[0], **token_result(1))
    assert platform.output is None


def test_a_timer_that_stays_is_told_once(platform: Platform) -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_later(HOUR, print)
        await token()
        await token()

    platform.run(work)
    assert platform.word().pending == ["1:1", "1:2"]
    platform.done("1:1", **token_result(1))
    word = platform.word()
    assert (word.kinds, word.pending, word.block) == (["token"], ["1:2", "1:3"], "any")
    platform.done("1:3", **token_result(1))
    assert platform.output is None


def test_timers_of_a_loop_that_is_over_are_not_waited_for(platform: Platform) -> None:
    async def inner() -> None:
        asyncio.get_running_loop().call_later(HOUR, print)
        await token()

    def work() -> str:
        asyncio.run(inner())
        wait.all(wait.token("waitpoint_2"), wait.token("waitpoint_3"))
        asyncio.run(inner())
        asyncio.run(_only_a_token())
        return "over"

    platform.run(work)
    for pending, block in ((["1:1", "1:2"], "any"), (["1:3", "1:4"], "all"), (["1:5", "1:6"], "any"), (["1:7"], "any")):
        word = platform.word()
        assert (word.pending, word.block) == (pending, block)
        platform.done(*(pending if block == "all" else pending[:1]), **token_result(1))
    assert platform.output == "over"


async def _only_a_token() -> None:
    await token()


def test_a_wait_for_all_becomes_one_for_any(platform: Platform) -> None:
    async def work() -> Any:
        return len(await asyncio.wait_for(wait.all(wait.token("waitpoint_1"), wait.token("waitpoint_2")), HOUR))

    platform.run(work)
    word = platform.word()
    assert (word.kinds, word.block) == (["token", "token", "date"], "any")
    platform.done("1:1", **token_result(1))
    word = platform.word()
    assert (word.waits, word.pending, word.block) == ([], ["1:2", "1:3"], "any")
    platform.done("1:2", **token_result(1))
    assert platform.output == 2


def test_a_timer_whose_wait_is_refused_is_slept(platform: Platform) -> None:
    async def work() -> str:
        asyncio.get_running_loop().call_later(HOUR, print)
        return (await token()).output

    platform.run(work)
    assert platform.word().block == "any"
    platform.attempt.refuse(["1:2"], UnprocessableError("too many waits"))
    platform.done("1:1", **token_result("told"))
    assert platform.output == "told"
    assert not platform.has_said_more()


# --- while it is blocked, and after


def test_no_timer_fires_before_the_run_has_its_place_again(platform: Platform) -> None:
    fired, read = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()

    def reader() -> None:
        ours.recv(1)
        read.set()

    async def work() -> None:
        asyncio.get_running_loop().add_reader(ours, reader)
        asyncio.get_running_loop().call_later(HOUR, fired.set)
        await token()

    platform.run(work)
    assert platform.word().block == "any"
    later(platform, HOUR)
    for _ in range(3):  # a loop that is woken by something else sees that the timer is due
        theirs.send(b"!")
        assert read.wait(PATIENCE)
        read.clear()
    assert not fired.is_set()
    assert not platform.has_said_more()
    platform.done("1:2")
    assert fired.wait(PATIENCE)
    word = platform.word()
    assert (word.waits, word.pending, word.block) == ([], ["1:1"], "any")
    platform.done("1:1", **token_result(1))
    assert platform.output is None
    ours.close()
    theirs.close()


async def _times_out() -> str:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(token(), HOUR)
    return "timed out"


async def _times_out_in_a_timeout() -> str:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HOUR):
            await token()
    return "timed out"


@pytest.mark.parametrize("work", [_times_out, _times_out_in_a_timeout])
def test_a_time_out_comes_with_its_date(platform: Platform, work: Any) -> None:
    platform.run(work)
    assert platform.word().pending == ["1:1", "1:2"]
    later(platform, HOUR)
    platform.done("1:2")
    assert platform.output == "timed out"


async def _told_in_time() -> Any:
    return (await asyncio.wait_for(token(), HOUR)).output


async def _told_in_a_timeout() -> Any:
    async with asyncio.timeout(HOUR):
        return (await asyncio.gather(asyncio.shield(asyncio.gather(token()))))[0][0].output


@pytest.mark.parametrize("work", [_told_in_time, _told_in_a_timeout])
def test_what_was_done_counts_though_its_time_is_over_when_the_run_has_its_place(
    platform: Platform, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_CATCH_UP", PATIENCE)
    platform.run(work)
    assert platform.word().block == "any"
    later(platform, HOUR)
    platform.done("1:1", "1:2", **token_result("told"))
    assert platform.output == "told"


def test_a_date_that_comes_before_its_timer_is_waited_out(platform: Platform) -> None:
    """The platform's clock may be a little ahead."""
    platform.run(_times_out)
    for pending in (["1:1", "1:2"], ["1:1", "1:3"]):
        word = platform.word()
        assert (word.pending, word.block) == (pending, "any")
        if pending == ["1:1", "1:3"]:
            later(platform, HOUR)
        platform.done(pending[1])
    assert platform.output == "timed out"


@pytest.mark.parametrize("is_async", [False, True])
def test_hooks_run_around_a_block_that_a_timer_ends(platform: Platform, is_async: bool) -> None:
    seen: list[Any] = []

    def wait_hook(wait: Any) -> None:
        seen.append((wait.need, [each.kind for each in wait.conditions]))

    def resume_hook() -> None:
        seen.append("resume")

    async def async_wait_hook(wait: Any) -> None:
        await asyncio.sleep(0)
        wait_hook(wait)

    async def async_resume_hook() -> None:
        await asyncio.sleep(0)
        resume_hook()

    async def work() -> None:
        await _times_out()
        seen.append("timed out")

    hooks = (async_wait_hook, async_resume_hook) if is_async else (wait_hook, resume_hook)
    platform.run(work, on_wait=hooks[0], on_resume=hooks[1])
    word = platform.word()
    while word.block is None:
        word = platform.word()
    assert seen == [("any", ["token"])]
    later(platform, HOUR)
    platform.done("1:2")
    assert platform.output is None
    assert seen[1:] == ["resume", "timed out"]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_missed_where_much_happens_at_once(platform: Platform, seed: int) -> None:
    """Dates come when they are due, every other token at some time, and nothing fires while the run has no place."""
    rng = random.Random(seed)
    blocked = threading.Event()
    went_on: list[str] = []

    async def one(number: int) -> int:
        for step in range(6):
            kind = rng.choice(["token", "sleep", "date"])
            if kind == "token":
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(wait.for_token(f"waitpoint_{number}"), rng.uniform(0.06, 0.3))
            elif kind == "sleep":
                await asyncio.sleep(rng.uniform(0.06, 0.3))
            else:
                await wait.for_(seconds=rng.uniform(0.01, 0.2))
            if blocked.is_set():
                went_on.append(f"{number}.{step} {kind}")
        return number

    async def work() -> list[int]:
        return list(await asyncio.gather(*(one(number) for number in range(30))))

    platform.run(work)
    known: dict[str, float] = {}
    given: set[str] = set()
    pending: list[str] = []
    until = time.monotonic() + PATIENCE
    while not platform.is_over and time.monotonic() < until:
        word = platform.word_within(0.01)
        if word is not None:
            blocked.clear()
            for each in word.waits:
                due = (
                    datetime.fromisoformat(each["at"]).timestamp()
                    if "at" in each
                    else rng.choice([time.time() + 0.1, 1e12])
                )
                known[each["key"]] = due
            pending = [key for key in word.pending if key not in given]
            if word.block is not None and pending == word.pending:  # else it crossed a result
                blocked.set()
        done = [key for key in pending if known[key] <= time.time()]
        if done:
            blocked.clear()
            platform.done(*done, **token_result(1))
            given.update(done)
            pending = [key for key in pending if key not in given]
    assert platform.output == list(range(30))
    assert went_on == []


# --- frozen


def test_a_time_out_is_due_after_the_time_that_the_process_was_frozen(platform: Platform, frozen: Frozen) -> None:
    platform.run(_within_a_time)
    platform.word()
    frozen.freeze(platform, HOUR)
    platform.done("1:2")
    assert platform.outcome["error"]["name"] == "TimeoutError"


def test_timers_and_deadlines_go_on_after_several_freezes(platform: Platform, frozen: Frozen) -> None:
    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        called: list[float] = []
        loop.call_later(10, lambda: called.append(loop.time() - began))
        async with asyncio.timeout(HOUR) as deadline:
            sleeping = asyncio.create_task(asyncio.sleep(2 * HOUR))
            await token()
            await token()
            sleeping.cancel()
        when = deadline.when()
        assert when is not None
        return [loop.time() - began, *called, when - began]

    platform.run(work)
    assert platform.word().pending == ["1:1", "1:2"]
    frozen.freeze(platform, 100)
    platform.done("1:2")
    word = platform.word()
    due = (datetime.fromisoformat(word.waits[0]["at"]) - datetime.now(UTC)).total_seconds()
    assert HOUR - 100 - PATIENCE < due < HOUR - 99
    frozen.freeze(platform, 200)
    platform.done("1:1", **token_result(1))
    assert platform.word().pending == ["1:3", "1:4"]
    frozen.freeze(platform, 300)
    platform.done("1:4", **token_result(1))
    clock, called, deadline = platform.output
    assert 600 <= clock < 600 + PATIENCE and 100 <= called < 100 + PATIENCE and abs(deadline - HOUR) < PATIENCE


def test_a_step_of_the_wall_clock_shifts_nothing(platform: Platform, frozen: Frozen) -> None:
    clocks: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.wait_for(token(), HOUR)
        clocks.append(loop.time() - began)

    platform.run(work)
    platform.word()
    frozen.seconds += 2 * HOUR
    platform.done("1:1", **token_result(1))
    assert platform.output is None
    assert clocks[0] < PATIENCE


def test_a_clock_never_goes_back(platform: Platform, frozen: Frozen) -> None:
    """The wall clock of the node where a process goes on may be behind."""
    clocks: list[float] = []

    async def work() -> None:
        clocks.append(asyncio.get_running_loop().time())
        await token()
        clocks.append(asyncio.get_running_loop().time())

    platform.run(work)
    platform.word()
    frozen.freeze(platform, -10)
    platform.done("1:1", **token_result(1))
    assert platform.output is None
    assert clocks[0] <= clocks[1]


def test_every_loop_that_waits_is_put_right(platform: Platform, frozen: Frozen) -> None:
    """Also one of another thread, which sleeps until its timer while the process is frozen."""
    due = threading.Event()
    is_ready = threading.Event()

    async def other() -> None:
        asyncio.get_running_loop().call_later(HOUR, due.set)
        asyncio.get_running_loop().call_later(0.01, is_ready.set)
        await token()

    def work() -> str:
        thread = threading.Thread(target=asyncio.run, args=(other(),))
        thread.start()
        assert is_ready.wait(PATIENCE)
        wait.for_(days=1)
        assert due.wait(PATIENCE)
        platform.done("1:1", **token_result(1))
        thread.join()
        return "over"

    platform.run(work)
    word = platform.word()
    while word.block is None:
        word = platform.word()
    frozen.freeze(platform, HOUR)
    platform.done("1:2")
    assert platform.output == "over"


def test_the_loop_of_an_attempt_is_put_right_though_nothing_waits_in_it(platform: Platform, frozen: Frozen) -> None:
    clocks: list[float] = []

    async def look() -> None:
        clocks.append(asyncio.get_running_loop().time())

    platform.run(lambda: wait.for_(days=1), on_start_attempt=look, on_success=look)
    platform.word()
    frozen.freeze(platform, 500)
    platform.done("1:1")
    assert platform.output is None
    assert 500 <= clocks[1] - clocks[0] < 500 + PATIENCE


# --- the parts


def test_a_loop_has_one_clock() -> None:
    loop = asyncio.new_event_loop()
    try:
        clock = clock_of(loop)
        assert isinstance(clock, LoopClock) and clock_of(loop) is clock
        before = loop.time()
        clock.shift += 100
        assert 100 <= loop.time() - before < 100 + PATIENCE
        clock.answer_once(5)
        assert loop.time() == 5 < loop.time()
        loop.time = time.monotonic  # type: ignore[method-assign]
        assert clock_of(loop) is None
    finally:
        loop.close()


@pytest.mark.parametrize("name", ["_scheduled", "_ready"])
def test_a_loop_that_cannot_be_looked_into_counts_as_busy(name: str) -> None:
    class Unknown:
        pass

    loop: Any = Unknown()
    assert idle.earliest_timer(loop) is None and idle.has_ready(loop)


def test_a_timer_is_seen_once_it_is_earliest() -> None:
    async def look() -> list[float | None]:
        loop = asyncio.get_running_loop()
        seen = [idle.earliest_timer(loop)]
        handles: list[Callable[[], None]] = []
        for seconds in (200, 100):
            handles.append(loop.call_at(seconds, print).cancel)
            seen.append(idle.earliest_timer(loop))
        return seen

    assert json.dumps(asyncio.run(look())) == "[null, 200.0, 100.0]"
