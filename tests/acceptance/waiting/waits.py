"""Tasks that wait, in every way there is; what they return says that they are the same process, or have begun anew."""

import asyncio
import hashlib
import os
import random
import threading
import time
import uuid

from sojourn import Queue, Retry, SojournError, context, logger, task, tasks, wait

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.05, max_timeout=0.1)


@task(retry=ONCE)
def sleeps(seconds):
    mark, number = uuid.uuid4().hex, context.attempt.number
    before = (os.getpid(), mark)
    wait.for_(seconds=seconds)
    return {"same": before == (os.getpid(), mark), "attempt": context.attempt.number, "was": number}


@task(retry=ONCE, freeze=False)
def stays(seconds):
    mark = uuid.uuid4().hex
    before = (os.getpid(), mark)
    wait.for_(seconds=seconds)
    return {"same": before == (os.getpid(), mark), "attempt": context.attempt.number}


@task(retry=ONCE)
def asks(options):
    """Waits for a token that somebody else completes; its locals, file and thread go on."""
    secret = random.Random(options.get("seed", 1)).random()
    with open("/tmp/asks.txt", "w+") as file:
        file.write("before ")
        file.flush()
        counted, stop = [0], threading.Event()

        def count():
            while not stop.wait(0.01):
                counted[0] += 1

        thread = threading.Thread(target=count)
        thread.start()
        token = wait.create_token(timeout=options.get("timeout"), tags=["asks"])
        logger.info("asks", token=token.id, url=token.url)
        answer = wait.for_token(token)
        then = counted[0]
        while counted[0] <= then:
            time.sleep(0.005)
        stop.set()
        thread.join()
        file.write("after")
        file.seek(0)
        written = file.read()
    told = answer.output if answer.ok else type(answer.error).__name__
    return {"answer": told, "ok": answer.ok, "secret": secret, "written": written}


@task(retry=ONCE)
async def gives_up(seconds):
    """The seconds after which it did."""
    token = await wait.create_token()
    began = time.time()
    try:
        await asyncio.wait_for(wait.for_token(token), timeout=seconds)
    except TimeoutError:
        return time.time() - began


@task(retry=ONCE)
def doubles(number):
    return 2 * number


@task(retry=ONCE)
def always_breaks(number):
    raise ValueError(f"broken {number}")


@task(retry=ONCE)
def has_a_child(number):
    kept = number + 1
    return doubles.trigger_and_wait(number).unwrap() + kept


@task(retry=ONCE)
def has_a_broken_child(number):
    result = always_breaks.trigger_and_wait(number)
    return {"ok": result.ok, "message": result.error["message"]}


@task(retry=ONCE)
def has_many(count):
    return [result.unwrap() for result in doubles.batch_trigger_and_wait(list(range(count)))]


@task(retry=ONCE)
def has_broken_ones(count):
    """None of a batch succeeds: it goes on with what each of them says."""
    return [[result.ok, result.error["message"]] for result in always_breaks.batch_trigger_and_wait(list(range(count)))]


@task(retry=ONCE)
def has_an_odd_one(number):
    """One of its children cannot be triggered; the other is waited for all the same."""
    odd, plain = doubles.batch_trigger_and_wait([(number, {"region": "mars"}), number])
    return {"odd": odd.ok, "why": str(odd.error), "plain": plain.unwrap()}


@task(retry=ONCE)
def has_odd_ones(number):
    """None of its children can be triggered."""
    results = doubles.batch_trigger_and_wait([(n, {"region": "mars"}) for n in range(number)])
    return [[each.ok, "mars" in str(each.error)] for each in results]


@task(retry=ONCE)
def has_no_such_child(number):
    try:
        tasks.trigger_and_wait("no-such-task", number)
    except SojournError as error:
        return str(error)


@task(retry=QUICK)
def fails_after_its_children(number):
    """The next attempt has the same children: nothing is doubled twice."""
    results = doubles.batch_trigger_and_wait([(n, {"idempotency_key": f"child-{n}"}) for n in range(number)])
    one = doubles.trigger_and_wait(number, idempotency_key="one")
    logger.info("children", ids=[each.id for each in (*results, one)])
    if context.attempt.number == 1:
        raise ValueError("once")
    return {"attempt": context.attempt.number, "outputs": [each.unwrap() for each in (*results, one)]}


@task(retry=ONCE)
def own_version(payload):
    return context.deployment.version


@task(retry=ONCE)
def has_a_child_of_its_version(payload):
    token = wait.create_token()
    logger.info("asks", token=token.id)
    wait.for_token(token)
    return [context.deployment.version, own_version.trigger_and_wait(None).unwrap()]


@task(retry=ONCE, queue=Queue("narrow", concurrency_limit=1))
def recurses(depth):
    """More levels than its queue has room for at once."""
    return depth + (tasks.trigger_and_wait("recurses", depth - 1).unwrap() if depth else 0)


@task(retry=ONCE)
async def gathers(number):
    answers = await asyncio.gather(
        doubles.trigger_and_wait(number), doubles.trigger_and_wait(number + 1), wait.for_(seconds=1)
    )
    return [answer.unwrap() for answer in answers[:2]]


@task(retry=ONCE)
async def races(options):
    """A child against a date that comes first."""
    slow = asyncio.ensure_future(tasks.trigger_and_wait("sleeps", 60))
    quick = asyncio.ensure_future(wait.for_(seconds=1))
    done, pending = await asyncio.wait({slow, quick}, return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
    return {"quick": quick in done, "slow": slow in done}


@task(retry=QUICK)
def fails_after_a_wait(payload):
    """Its second attempt does not wait again: the wait has a key."""
    wait.for_(seconds=2, idempotency_key=f"once-{context.run.id}")
    if context.attempt.number == 1:
        raise RuntimeError("after the wait")
    return {"attempt": context.attempt.number}


@task(retry=ONCE)
def waits_often(times):
    mark = uuid.uuid4().hex
    seen = []
    for _ in range(times):
        wait.for_(seconds=0.2)
        seen.append(mark)
    return len(set(seen))


def surroundings():
    """Variables that the test changes, and a mark of the key."""
    key = hashlib.sha256(os.environ["SOJOURN_SECRET_KEY"].encode()).hexdigest()
    return {"key": key} | {name: os.environ.get(name) for name in ("COLOUR", "LEAVES", "COMES")}


@task(retry=ONCE)
def looks_around(options):
    """What surrounds it before a wait and after it; what is drawn after it, and what its seed would have given."""
    random.seed(7)
    foretold = random.random()
    random.seed(7)
    before, token = surroundings(), wait.create_token()
    logger.info("asks", token=token.id)
    wait.for_token(token)
    if options["calls"]:
        wait.create_token()
    return {"before": before, "after": surroundings(), "foretold": foretold, "drawn": random.random()}


@task(retry=ONCE)
def hooked(payload):
    with open("/tmp/hooked.txt", "w") as file:
        file.write("task ")
    wait.for_(seconds=0.5)
    with open("/tmp/hooked.txt") as file:
        return file.read()


@hooked.on_wait
def note_wait(wait):
    with open("/tmp/hooked.txt", "a") as file:
        file.write("waits ")


@hooked.on_resume
def note_resume(wait):
    with open("/tmp/hooked.txt", "a") as file:
        file.write("resumes")


@task(retry=ONCE)
def counts(times):
    """Works without a wait, a tenth of a second a step."""
    mark = uuid.uuid4().hex
    logger.info("begins")
    seen = set()
    for _ in range(times):
        time.sleep(0.1)
        seen.add(mark)
    return {"counted": times, "same": seen == {mark}}
