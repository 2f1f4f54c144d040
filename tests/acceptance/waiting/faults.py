"""Tasks that say outside that they go on, so that a process that goes on twice is seen."""

import asyncio
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid

from sojourn import Retry, context, logger, runs, task, wait

AGAIN = Retry(max_attempts=3, min_timeout=0.05, max_timeout=0.1)
ONCE = Retry(max_attempts=1)
DOUBLES = "import sys\nfor line in sys.stdin: print(2 * int(line), flush=True)"


def tell(port, mark):
    """To whoever listens outside."""
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(json.dumps({"run": context.run.id, "mark": mark}).encode() + b"\n")
        assert line.recv(16) == b"heard\n"


def keep(options):
    mark, kept = uuid.uuid4().hex, [random.random() for _ in range(1000)]
    total, ballast = sum(kept), os.urandom(options.get("megabytes", 0) << 20)
    digest = hash(ballast)
    answers = []
    for token in options["tokens"]:
        answers.append(wait.for_token(token).output)
        tell(options["port"], mark)
    same = (sum(kept), hash(bytes(ballast))) == (total, digest)
    return {"mark": mark, "same": same, "answers": answers, "attempt": context.attempt.number}


@task(retry=ONCE)
def keeps(options):
    """Its locals, over one wait after the other."""
    return keep(options)


@task(retry=AGAIN)
def keeps_or_begins_anew(options):
    return keep(options)


@task(retry=ONCE)
def zoo(options):
    """A thread, a subprocess, an open file and an open connection, over one wait after the other."""
    mark, counted, stop = secrets.token_hex(8), [0], threading.Event()

    def count():
        while not stop.wait(0.01):
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    helper = subprocess.Popen([sys.executable, "-c", DOUBLES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    address, reconnected, doubled = ("127.0.0.1", options["port"]), 0, []
    line = socket.create_connection(address, 10)
    with open("/tmp/zoo.txt", "w+") as file:
        for number, token in enumerate(options["tokens"]):
            wait.for_token(token)
            then = counted[0]
            while counted[0] <= then:
                time.sleep(0.002)
            helper.stdin.write(f"{number}\n")
            helper.stdin.flush()
            doubled.append(int(helper.stdout.readline()))
            file.write("x")
            file.flush()
            try:
                line.sendall(b"{}\n")
                assert line.recv(16) == b"heard\n"
            except (OSError, AssertionError):
                reconnected += 1
                line.close()
                line = socket.create_connection(address, 10)
            tell(options["port"], mark)
        file.seek(0)
        written = len(file.read())
    stop.set()
    thread.join()
    helper.stdin.close()
    return {"mark": mark, "doubled": doubled, "written": written, "reconnected": reconnected, "ended": helper.wait(5)}


@task(retry=ONCE)
async def loops(options):
    """Another task of its loop, and a queue, that are idle while it waits."""
    mark, queue, passed = secrets.token_hex(8), asyncio.Queue(), []

    async def take():
        while True:
            number, taken = await queue.get()
            passed.append(number)
            taken.set_result(number)

    taking = asyncio.create_task(take())
    for number, token in enumerate(options["tokens"]):
        await wait.for_token(token)
        taken = asyncio.get_running_loop().create_future()
        queue.put_nowait((number, taken))
        assert await taken == number
        tell(options["port"], mark)
    taking.cancel()
    return {"mark": mark, "passed": passed}


@task(retry=ONCE)
async def ticks(options):
    """Its loop never rests."""
    ticked = [0]

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            ticked[0] += 1

    ticking = asyncio.create_task(tick())
    logger.info("ticks")
    await wait.for_token(options["tokens"][0])
    ticking.cancel()
    return {"ticked": ticked[0]}


@task(retry=ONCE)
def works_on(options):
    """Goes on after its waits, if it has any, until its run has a tag."""
    told = keep(options)
    logger.info("works on")
    while not runs.retrieve(context.run.id).tags:
        time.sleep(0.1)
    return told


@task(retry=ONCE)
def leaves_a_daemon(options):
    """What cannot be frozen: it says why, and waits in memory."""
    subprocess.run(["/bin/sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"], check=True)
    return keep(options)
