"""The smallest tasks: one that greets, one that fails once, one that fans out, one that takes its time."""

import time
from dataclasses import dataclass

from sojourn import Retry, context, logger, task


@dataclass
class Greeting:
    name: str
    polite: bool = True


@task
def hello(payload: Greeting) -> str:
    logger.info("greeting", name=payload.name)
    return f"{'Good day' if payload.polite else 'Hi'}, {payload.name}"


@task(retry=Retry(max_attempts=3, min_timeout=0.2, max_timeout=1))
def flaky(payload: dict) -> dict:
    if context.attempt.number == 1:
        raise ConnectionError("the first attempt always fails")
    return {"attempts": context.attempt.number, **payload}


@task
def square(number: int) -> int:
    return number * number


@task
def fan_out(count: int) -> list[str]:
    return [square.trigger(n).id for n in range(count)]


@task
async def nap(seconds: float) -> str:
    import asyncio

    print(f"sleeping for {seconds} s")
    await asyncio.sleep(seconds)
    return "rested"


@nap.on_cancel
def woken(reason: str) -> None:
    logger.warn(f"woken early: {reason}")


@task
def steps(count: int) -> int:
    for step in range(count):
        logger.info(f"step {step + 1} of {count}")
        time.sleep(0.1)
    return count
