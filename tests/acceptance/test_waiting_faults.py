"""The faults of freezing, with real criu: no run is lost, none goes on twice, nothing that is damaged is ever restored."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.criu import needs_criu
from tests.support.frozen_stack import FrozenStack
from tests.support.proxy import Proxy, Seen
from tests.support.s3_server import CREDENTIALS, s3_server
from tests.support.stack import until

from sojourn.executor_shim import thawing
from sojourn.executor_shim.child import Child
from sojourn.executor_shim.control import Control, Refused
from sojourn.executor_shim.events import Events
from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.housing import Housing
from sojourn.executor_shim.sandbox.keeper import Keeper
from sojourn.executor_shim.sandbox.layout import USER_PID
from sojourn.executor_shim.settings import Settings
from sojourn.sdk.errors import ApiConnectionError, ServerError

PROJECT = Path(__file__).parent / "waiting"
SOAK = bool(os.environ.get("SOAK"))
_HASH = 64
RACES = int(os.environ.get("WAIT_RACES_CRIU", 300 if SOAK else 30))


@pytest.fixture(scope="module")
def stack() -> Iterator[FrozenStack]:
    made = FrozenStack(needs_criu())
    try:
        made.up()
        made.deploy(PROJECT)
        yield made
        until(lambda: made.violations() == [], 20, "every invariant holds")
        until(lambda: not list(made.plain.iterdir()), 20, "no plain image is left")
        until(lambda: not any(map(whole_images(made), made.over)), 60, "no image is left of runs that are over")
    finally:
        made.down()


def whole_images(stack: FrozenStack) -> Callable[[str], list[Path]]:
    """Of a run. What was being uploaded when the control plane was killed is swept later: it may be another's upload."""
    return lambda run: [path for path in stack.stored(run) if not path.name.startswith(".partial-")]


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest, stack: FrozenStack) -> Iterator[None]:
    """A test that fails says what the stack's processes wrote."""
    yield
    if getattr(request.node, "failed", False):
        print(stack.logs())


# --- F40: a freeze that comes to nothing

INSTEAD = {
    "criu is killed": ("kill -KILL $$", "criu was ended by signal 9"),
    "criu hangs": ("kill -STOP $$", "criu was not done in 6 s"),
    "criu refuses": ("exit 3", "criu refused"),
}


@pytest.mark.parametrize("fault", INSTEAD)
def test_a_dump_that_comes_to_nothing(stack: FrozenStack, fault: str):
    """F40: it waits in memory, says why, and ends well."""
    shell, why = INSTEAD[fault]
    (token,) = stack.tokens(1)
    with stack.before("dump", shell):
        run = stack.start("keeps", [token])
        waits_alive(stack, run, why)
        assert stack.stored(run) == [] and stack.listed(run) == []
        stack.complete(token, "yes")
        goes_on_in_memory(stack, run)


def test_a_process_that_ends_with_criu(stack: FrozenStack):
    """F40: as where criu dies while its own code runs in the process. The attempt has crashed; the next one is as good."""
    (token,) = stack.tokens(1)
    before = stack.criu.calls("struck")
    with stack.before("dump", f"kill -TRAP {USER_PID}; {stack.criu.says('struck')}exec sleep 100"):
        run = stack.start("keeps-or-begins-anew", [token])
        stack.criu.wait("struck", before + 1)
    stack.until_frozen(run)
    stack.complete(token, "yes")
    told = stack.output(run)
    assert (told["answers"], told["same"], told["attempt"]) == (["yes"], True, 2)
    assert stack.witness.times(run) == [1]
    crashed = stack.client().timeline(run)["attempts"][0]["error"]
    assert crashed["name"] == "TASK_RUN_CRASHED" and "SIGTRAP" in crashed["message"], crashed
    stack.leaves_nothing(run)


def test_no_room_for_the_plain_image(stack: FrozenStack):
    """F40: ENOSPC."""
    (token,) = stack.tokens(1)
    resize(stack, "1m")
    try:
        run = stack.start("keeps", [token])
        waits_alive(stack, run, "")
        stack.complete(token, "yes")
        goes_on_in_memory(stack, run)
    finally:
        resize(stack, "512m")


def test_no_place_for_the_plain_image(stack: FrozenStack):
    """F40: the directory is full to the last name."""
    (token,) = stack.tokens(1)
    resize(stack, "512m,nr_inodes=2")
    (stack.plain / "last").touch()
    try:
        run = stack.start("keeps", [token])
        waits_alive(stack, run, "there is no place for its image")
        stack.complete(token, "yes")
        goes_on_in_memory(stack, run)
    finally:
        (stack.plain / "last").unlink()
        resize(stack, "512m,nr_inodes=100000")


def waits_alive(stack: FrozenStack, run: str, why: str) -> None:
    reason = until(lambda: stack.client().retrieve(run).get("aliveReason"), 30, f"{run} says why it waits in memory")
    assert why in reason


def goes_on_in_memory(stack: FrozenStack, run: str) -> None:
    told = stack.output(run)
    assert (told["answers"], told["same"], told["attempt"]) == (["yes"], True, 1)
    assert stack.witness.times(run) == [1]
    assert "SUSPEND" not in stack.events(run)
    stack.leaves_nothing(run)


def resize(stack: FrozenStack, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={options}", str(stack.plain)], check=True)


@pytest.mark.parametrize("after", ["0", "0.03", "0.1"])
def test_its_executor_is_killed_in_the_middle_of_a_dump(stack: FrozenStack, after: str):
    """F40: the attempt has crashed, its next one is as good; what criu had written in clear is gone."""
    (token,) = stack.tokens(1)
    before = stack.criu.calls("stands")
    with stack.before("dump", f"{stack.criu.stands}sleep {after}"):
        run = stack.start("keeps-or-begins-anew", [token])
        stack.criu.wait("stands", before + 1)
    shim = stack.shim(run)
    stack.criu.let_go()
    os.kill(shim, signal.SIGKILL)
    stack.until_frozen(run)
    stack.complete(token, "yes")
    told = stack.output(run)
    assert (told["answers"], told["same"], told["attempt"]) == (["yes"], True, 2)
    stack.leaves_nothing(run)
    until(lambda: not list(stack.plain.iterdir()), 20, "no plain image is left")


def test_its_executor_is_killed_in_the_middle_of_an_upload(stack: FrozenStack):
    """F40: half an image is no image."""
    (token,) = stack.tokens(1)
    stack.line.slow(500_000)
    try:
        run = stack.start("keeps-or-begins-anew", [token], megabytes=4)
        until(lambda: any(path.stat().st_size for path in stack.stored(run)), 40, "a part of its image is stored")
        assert stack.listed(run) == ["BEGUN"]
        stack.kill_shim(run)
    finally:
        stack.line.slow(None)
    stack.until_frozen(run)
    assert len(stack.stored(run)) == 1
    stack.complete(token, "yes")
    assert stack.output(run)["attempt"] == 2
    stack.leaves_nothing(run)


# --- F41: damaged images


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(len(data)).randrange(len(data))] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_at_the_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def test_a_damaged_image_is_never_restored(stack: FrozenStack):
    """F41: criu does not see a byte of it; the attempt is over with its reason, and the next one is as good."""
    kinds: list[Callable[[Path], None] | None]
    kinds = [flip, flip, cut, cut_at_the_end, lengthen, Path.unlink, None, None, None]
    with ThreadPoolExecutor(4) as threads:
        *frozen, last = threads.map(
            lambda each: stack.frozen("keeps-or-begins-anew" if each else "keeps"), [*[1] * (len(kinds) - 1), 0]
        )
    images = [stack.stored(run)[0] for run, _ in (*frozen, last)]
    for kind, path in zip(kinds, images, strict=True):
        if kind is not None:
            kind(path)
    one, other, third = (path.read_bytes() for path in images[-3:])
    for path, content in zip(images[-3:], (other, third, one), strict=True):  # each has another run's
        path.write_bytes(content)
    before = stack.criu.calls("restore")
    for _, token in (*frozen, last):
        stack.complete(token, "yes")
    for run, _ in frozen:
        told = stack.output(run)
        assert (told["answers"], told["attempt"]) == (["yes"], 2), told
        timeline = stack.client().timeline(run)
        assert "could not be thawed, tried 3 times" in str(timeline["attempts"][0]["error"]), timeline
        assert stack.events(run).count("REQUEUE") == 2, timeline
        stack.leaves_nothing(run)
    failed = stack.result(last[0])
    assert not failed["ok"] and failed["error"]["code"] == "CHECKPOINT_INVALID", failed
    assert stack.criu.calls("restore") == before


# --- F42: a thaw that comes to nothing


@pytest.mark.parametrize("shell", ["kill -STOP $$", "kill -KILL $$", "exit 3"])
def test_a_restore_that_comes_to_nothing(stack: FrozenStack, shell: str):
    """F42: the watchdog, three tries, then its task's policy; the executor serves others."""
    run, token = stack.frozen("keeps-or-begins-anew")
    with stack.before("restore", shell) as before:
        stack.complete(token, "yes")
        stack.criu.wait("restore", before + 1)
        living = set(stack.executors())
        other = str(stack.client().trigger("doubles", 4)["id"])
        assert stack.result(other)["output"] == "8"
        told = stack.output(run)
        assert stack.criu.calls("restore") == before + 3
    assert (told["answers"], told["attempt"]) == (["yes"], 2)
    assert living <= set(stack.executors())
    stack.leaves_nothing(run)


def test_a_thaw_that_fails_once(stack: FrozenStack):
    """F42: the next try is as good."""
    run, token = stack.frozen()
    with stack.before("restore", "exit 3") as before:
        stack.complete(token, "yes")
        stack.criu.wait("restore", before + 1)
    goes_on_where_it_was(stack, run)


def goes_on_where_it_was(stack: FrozenStack, run: str, waits: int = 1) -> None:
    told = stack.output(run)
    assert (told["same"], told["attempt"]) == (True, 1)
    assert stack.witness.times(run) == [waits]
    stack.leaves_nothing(run)


def test_an_executor_is_killed_while_it_thaws(stack: FrozenStack):
    """The image is kept, and the run thawed elsewhere."""
    run, token = stack.frozen()
    with stack.before("restore", "sleep 5") as before:
        stack.complete(token, "yes")
        stack.criu.wait("restore", before + 1)
        stack.kill_shim(run)
    goes_on_where_it_was(stack, run)


# --- F43: what is waited for comes while it is frozen, or thawed


def test_a_token_is_completed_at_any_moment(stack: FrozenStack):
    """F43: it goes on once, with all that it had."""
    chance = random.Random(43)
    moments = [[chance.uniform(0, 1.2) for _ in range(3)] for _ in range(RACES)]

    def one(each: list[float]) -> str:
        tokens = stack.tokens(len(each))
        run = stack.start("keeps", tokens)
        for moment, token in zip(each, tokens, strict=True):
            until_later(moment)
            stack.complete(token, token)
        told = stack.output(run, 120)
        assert (told["answers"], told["same"], told["attempt"]) == (tokens, True, 1)
        assert stack.witness.times(run) == [len(each)]
        return " ".join(stack.events(run))

    with ThreadPoolExecutor(4) as threads:
        histories = list(threads.map(one, moments))
    assert all(history.endswith("SUCCEED") and history.count("START") == 1 for history in histories)
    assert all(history.count("SUSPEND") == history.count("CONTINUE") for history in histories)
    assert any("SUSPEND" in history for history in histories) and any("READMIT" in history for history in histories)


def until_later(seconds: float) -> None:
    """A moment that nothing tells: the chance is the test."""
    time.sleep(seconds)


# --- F44: one image, two processes


def test_an_image_that_is_restored_twice_goes_on_once(stack: FrozenStack):
    """F44: another executor has the image and its key by force, and restores it; what it claims is refused."""
    run, token = stack.frozen()
    image = stack.stored(run)[0].read_bytes()
    stack.line.hold(b"POST /worker/v1/thawed")
    try:
        stack.complete(token, "yes")
        (held,) = until(lambda: claims(stack, run), 30, "it is thawed, and claimed")
        work = assignment_of(stack, run)
        assert stack.result(str(stack.client().trigger("doubles", 4)["id"]))["ok"]  # by another executor
        others = {each.who for each in stack.line.requests(b"POST /worker/v1/next")} - {held.who}
        assert others
        with twin(stack, work, image) as child:
            assert child.exit_code is None and stack.witness.times(run) == []
            for who in others:
                control = Control(stack.found["api_url"], who.decode())
                with pytest.raises(Refused) as refused:
                    thawing.claim(control, work, 0, 1)
                assert refused.value.status in (401, 403, 409)
            assert stack.witness.times(run) == []
    finally:
        stack.line.heal()
    goes_on_where_it_was(stack, run)
    control = Control(stack.found["api_url"], held.who.decode())
    with pytest.raises(Refused):  # nor the same one, later
        thawing.claim(control, work, 0, 1)


def claims(stack: FrozenStack, run: str) -> list[Seen]:
    return [each for each in stack.line.requests(b"POST /worker/v1/thawed") if run.encode() in each.data][:1]


def assignment_of(stack: FrozenStack, run: str) -> dict[str, Any]:
    """What an executor was given to thaw a run."""
    for each in reversed(stack.line.answers(run.encode())):
        if b'"thaw"' in each.data:
            work: dict[str, Any] = json.loads(each.data[each.data.index(b"{") :])["work"]
            return work
    raise AssertionError("nobody was given it")


@contextmanager
def twin(stack: FrozenStack, work: dict[str, Any], image: bytes) -> Iterator[Child]:
    """Another process of an image, restored and stopped, in a sandbox of this test's own."""
    options = {"mode": "required", "network": "none", "readable": [str(stack.beside / "criu")]}
    settings = Settings(
        api_url=stack.found["api_url"],
        credential="",
        executor="executor_twin",
        version_hash="",
        versions_dir=str(stack.data_dir / "versions"),
        sandbox=options,
    )
    # An executor sees what this test's interpreter does, less what pytest has added.
    asked = subprocess.run([sys.executable, "-P", "-c", "import sys; print(*sys.path, sep='\\n')"], capture_output=True)
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "path", asked.stdout.decode().split("\n"))
    # What servers leave behind is not for this process to adopt: it would stay as zombies, which Nomad takes for alive.
    patch.setattr("sojourn.executor_shim.housing.adopt_orphans", lambda: None)
    keeper = Keeper.start()
    housing = Housing(settings, keeper, print)
    housing.decide()
    (tree,) = (each for each in (stack.data_dir / "versions").iterdir() if len(each.name) == _HASH)
    housing.see(str(tree))
    events = Events()
    thaw = work["thaw"]
    try:
        with places.workplace(str(stack.plain)) as place:
            images.unpack(io.BytesIO(image), f"{place}/image", base64.b64decode(thaw["key"]), thaw["context"])
            child = Child.thawed(events, settings.executor, housing.thaw, f"{place}/image")
        yield child
        child.end()
    finally:
        housing.close()
        patch.undo()


# --- F45: what a process may have


def test_it_is_frozen_twenty_times(stack: FrozenStack):
    """F45: threads, a subprocess, an open file, a connection, a loop with other tasks."""

    def one(task: str) -> tuple[str, dict[str, Any]]:
        tokens = stack.tokens(20)
        run = stack.start(task, tokens)
        for times, token in enumerate(tokens, start=1):
            stack.until_frozen(run, times)
            stack.complete(token)
        return run, stack.output(run)

    with ThreadPoolExecutor(2) as threads:
        (zoo, animals), (loops, looped) = threads.map(one, ("zoo", "loops"))
    assert animals["doubled"] == [2 * number for number in range(20)]
    assert (animals["written"], animals["ended"], animals["reconnected"]) == (20, 0, 20)
    assert looped["passed"] == list(range(20))
    for run in (zoo, loops):
        assert stack.witness.times(run) == [20]
        stack.leaves_nothing(run)


def test_a_loop_that_works_beside_its_wait_keeps_its_process(stack: FrozenStack):
    """F45: a process that has something to do is not frozen."""
    (token,) = stack.tokens(1)
    run = stack.start("ticks", [token])
    until(lambda: stack.client().logs(run)["lines"], 30, "it ticks")
    until_later(1)
    stack.complete(token)
    assert stack.output(run)["ticked"] > 10
    assert "SUSPEND" not in stack.events(run)


def test_what_cannot_be_frozen_says_why(stack: FrozenStack):
    """F45: it waits in memory."""
    (token,) = stack.tokens(1)
    run = stack.start("leaves-a-daemon", [token])
    waits_alive(stack, run, "a process of it runs beside it as a daemon")
    stack.complete(token, "yes")
    goes_on_in_memory(stack, run)


# --- F46: the store of images


def test_images_cannot_be_stored(stack: FrozenStack):
    """F46: it waits in memory, and says why."""
    (token,) = stack.tokens(1)
    with stack.no_store():
        run = stack.start("keeps", [token])
        waits_alive(stack, run, "")
        stack.complete(token, "yes")
        goes_on_in_memory(stack, run)


def test_images_cannot_be_read_for_a_while(stack: FrozenStack):
    """F46: they are as good afterwards."""
    frozen = [stack.frozen() for _ in range(2)]
    with stack.no_store():
        for _, token in frozen:
            stack.complete(token, "yes")
        for run, _ in frozen:
            until(lambda run=run: stack.events(run)[-1] == "DEQUEUE", 30, f"{run} is to be thawed")
        until_later(5)
    for run, _ in frozen:
        goes_on_where_it_was(stack, run)


@pytest.fixture
def bucket(stack: FrozenStack) -> Iterator[tuple[FrozenStack, Proxy]]:
    """A stack whose images are in a bucket, and what lies between the two."""
    with s3_server() as server:
        port = int(server.endpoint.rpartition(":")[2])
        between = Proxy(("127.0.0.1", port), most=1 << 10)
        store = server.bucket("images").replace(server.endpoint, f"http://127.0.0.1:{between.port}")
        made = FrozenStack(needs_criu(), SOJOURN_OBJECT_STORE=store, **CREDENTIALS)
        try:
            made.up()
            made.deploy(PROJECT)
            yield made, between
            until(lambda: made.violations() == [], 20, "every invariant holds")
        finally:
            made.down()
            between.close()


def test_the_store_is_slow_and_cut_off(bucket: tuple[FrozenStack, Proxy]):
    """F46: a megabyte a second; and not at all."""
    stack, between = bucket
    between.slow(1_000_000)
    (token,) = stack.tokens(1)
    run = stack.start("keeps", [token], megabytes=8)
    until(lambda: stack.listed(run) == ["BEGUN"], 30, "it is being stored")
    stack.complete(token, "yes")
    assert stack.output(run)["same"]  # which does not wait for that
    run, token = stack.frozen()
    between.cut()
    (second,) = stack.tokens(1)
    alive = stack.start("keeps", [second])
    stack.complete(token, "yes")
    stack.complete(second, "yes")
    until_later(4)
    between.heal()
    assert stack.output(alive)["attempt"] == 1
    assert (stack.output(run)["attempt"], stack.witness.times(run)) == (1, [1])


# --- services


@pytest.mark.parametrize("service", ["control-plane", "scheduler"])
def test_a_service_is_killed_while_runs_are_frozen_and_thawed(stack: FrozenStack, service: str):
    """Some are frozen, some are being frozen, some are being thawed: all come to their ends, once each."""
    frozen = [stack.frozen() for _ in range(4)]
    begun = []
    for _, token in frozen[:2]:
        stack.complete(token, "yes")
    for _ in range(4):
        (token,) = stack.tokens(1)
        begun.append((stack.start("keeps", [token]), token))
    stack.kill(service)
    for _, token in frozen[2:] + begun:
        until(lambda token=token: is_completed(stack, token), 30, f"{token} is completed")
    for run, _ in frozen + begun:
        told = stack.output(run)
        assert (told["answers"], told["same"], told["attempt"]) == (["yes"], True, 1), stack.events(run)
        assert stack.witness.times(run) == [1]
        stack.leaves_nothing(run)
    until(lambda: stack.violations() == [], 20, "every invariant holds")


def is_completed(stack: FrozenStack, token: str) -> bool:
    try:
        stack.complete(token, "yes")
        return True
    except (ApiConnectionError, ServerError):
        return False


def test_redis_is_emptied_while_runs_are_frozen(stack: FrozenStack):
    """Nothing of a frozen run is in Redis alone."""
    with ThreadPoolExecutor(4) as threads:
        frozen = list(threads.map(lambda _: stack.frozen(), range(20)))
    connection = redis.Redis.from_url(f"unix://{stack.data_dir}/run/redis.sock")
    connection.flushall()
    for number, (_, token) in enumerate(frozen):
        stack.complete(token, "yes")
        if number == 10:
            connection.flushall()
    connection.close()
    for run, _ in frozen:
        goes_on_where_it_was(stack, run)
    until(lambda: stack.violations() == [], 20, "every invariant holds")
