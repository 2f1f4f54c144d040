"""Tasks that wait."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sojourn import logger, metadata, task, wait


@task(id="wait-and-count")
def wait_and_count(payload):
    metadata.increment("n")
    wait.for_(seconds=payload["seconds"])
    metadata.increment("n")
    return metadata.get("n")


@task
def wait_a_while(payload):
    """Waits so many seconds."""
    logger.info("waiting", pid=os.getpid())
    wait.for_(seconds=payload["seconds"])
    return "waited"


@task
def wait_then_sleep(payload):
    wait.for_(seconds=payload["seconds"])
    print("went on")
    time.sleep(60)


@task
async def goes_on(payload):
    """A thread gives its loop work while it waits."""
    loop = asyncio.get_running_loop()
    kept = []

    async def busy():
        logger.info("busy")
        until = loop.time() + payload["seconds"]
        while loop.time() < until:  # one timer of all that time would be waited for, as a date
            await asyncio.sleep(0.01)
        print("no longer busy")

    threading.Timer(0.5, loop.call_soon_threadsafe, (lambda: kept.append(loop.create_task(busy())),)).start()
    await wait.for_token("waitpoint_1")
    return len(kept)


@task
def child(payload):
    return {"child": payload}


@task
def parent(payload):
    result = child.trigger_and_wait(payload)
    return {"ok": result.ok, "output": result.output, "task": result.task}


@task
def parent_of_many(payload):
    results = child.batch_trigger_and_wait([*payload, ("with options", {"tags": ["last"]})])
    return [result.output if result.ok else result.error["message"] for result in results]


@task
async def gather(payload):
    result, _, told = await asyncio.gather(child.trigger_and_wait(1), wait.for_(seconds=0.5), wait.for_token("waitpoint_1"))
    return [result.output, told.output]


@task
def first_of(payload):
    first = wait.any(wait.token("waitpoint_1"), wait.delay(days=1), wait.run("run_x"))
    return [first.index, first.result.output]


@task
def token(payload):
    """The length of what completes it."""
    return len(wait.for_token("waitpoint_1").unwrap())


@task
def many_tokens(payload):
    """The lengths of what completes them."""
    names = [f"waitpoint_{n}" for n in range(payload)]
    return [len(each.unwrap()) for each in wait.all(*map(wait.token, names))]


@task
def threads(payload):
    def one(name):
        return wait.for_token(name).unwrap()

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(one, f"waitpoint_{n}") for n in range(2)]
        mine = one("waitpoint_2")
        return [mine, *(other.result() for other in others)]


@task
def cancelled(payload):
    """Cleans up when its run is cancelled while it waits."""
    try:
        wait.for_(days=1)
    finally:
        print("finally")


@cancelled.on_cancel
def cancelled_hook():
    print("on_cancel")


@task
async def async_cancelled(payload):
    try:
        await asyncio.gather(wait.for_(days=1), wait.for_token("waitpoint_1"))
    except asyncio.CancelledError:
        print("cancelled")
        raise


@task
def refused(payload):
    try:
        wait.for_(days=1)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


@task
def twice(payload):
    wait.for_(seconds=0.3)
    wait.for_(seconds=0.3)
    return "twice"


@task
def hooked(payload):
    print("before")
    wait.for_(seconds=0.2)
    print("after")


@hooked.on_wait
def about_to_wait(wait):
    print("on_wait", [each.kind for each in wait.conditions])


@hooked.on_resume
def resumed():
    print("on_resume")


@task
def dice(payload):
    """What is thrown after a wait, and what would be with the seed from before it."""
    random.seed(1)
    expected = random.random()
    random.seed(1)
    wait.for_(days=1)
    names = {"colour": "COLOUR", "key": "SOJOURN_SECRET_KEY"}
    return {"thrown": random.random(), "expected": expected} | {name: os.environ.get(names[name]) for name in names}


@task
async def within_a_time(payload):
    """The seconds after which a token is not waited for any more."""
    began = time.time()
    try:
        await asyncio.wait_for(wait.for_token("waitpoint_1"), payload)
    except TimeoutError:
        return time.time() - began


@task
async def three_sleeps(payload):
    """When each is over, in seconds, beside a token; the loop's clock and the wall's at the end."""
    began, loop = time.time(), asyncio.get_running_loop()
    clock = loop.time()
    called = loop.create_future()

    async def sleep(seconds):
        await asyncio.sleep(seconds)
        return time.time() - began

    async def call():
        loop.call_later(payload[2], lambda: called.set_result(time.time() - began))
        async with asyncio.timeout(600):
            await wait.for_token("waitpoint_1")
        return await called

    ends = await asyncio.gather(*map(sleep, payload[:2]), call())
    return {"ends": ends, "clock": loop.time() - clock, "wall": time.time() - began}
