"""The demo of freezing: a run waits for an approval while no process of it exists, and goes on on another node.

As root, with Nomad and CRIU (`make nomad criu`): a server and two clients in namespaces of their own, as in the tests.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.criu import needs_criu
from tests.support.nomad_nodes import HUB, Cluster, Node, needs_nodes
from tests.support.nomad_stack import NomadStack
from tests.support.stack import until

ROOT = Path(__file__).resolve().parent.parent
ORDER = {"customer": "Ada", "items": {"tent": 310.5, "stove": 89.0}}
#: Seconds for which nobody decides.
WAIT = float(os.environ.get("DEMO_WAIT_SECONDS", "20"))


def main() -> int:
    """0 when the run went on on the second node with what it had."""
    needs_nodes()
    needs_criu()
    began = time.monotonic()
    say("starting a Nomad server, two Nomad clients, PostgreSQL, Redis, control plane and scheduler …")
    cluster = Cluster(2)
    try:
        cluster.up()
        stack = made(cluster)
        try:
            stack.up()
            stack.deploy(ROOT / "examples")
            say(f"ready after {time.monotonic() - began:.1f} s\n")
            return 0 if approved(cluster, stack) else 1
        finally:
            say("\nstopping …")
            stack.down()
    except KeyboardInterrupt:
        return 130
    finally:
        cluster.down()


def made(cluster: Cluster) -> NomadStack:
    """The platform on the nodes' hub, which is not started yet."""
    stack = NomadStack(
        cluster,
        SOJOURN_NOMAD_SITES=json.dumps({"*": {"python": sys.executable}}),
        SOJOURN_EXECUTORS_ON_STOP="keep",
        SOJOURN_IDLE_TIMEOUT_SECONDS="1",
        SOJOURN_SANDBOX="required",
    )
    stack.environment["SOJOURN_HOST"] = HUB
    stack.environment["SOJOURN_API_URL"] = f"http://{HUB}:{stack.port}"
    return stack


def approved(cluster: Cluster, stack: NomadStack) -> bool:
    """The way of one order; whether its result is right."""
    client, (first, second) = stack.client(), cluster.nodes
    only(stack, first)
    run = str(client.trigger("approval", ORDER)["id"])
    until(lambda: stands(stack, run) == "SUSPENDED", 60, "the run is frozen")
    show(stack, run)
    image = client.timeline(run)["checkpoints"][-1]
    size = f"{image['imageBytes'] / 1e6:.1f} MB of process, {image['storedBytes'] / 1e6:.1f} MB stored"
    say(f"\nfrozen on {first.name}: {size}")
    say(f"stopped after {image['freezeMs']} ms, stored after {image['storeMs']} ms more")
    until(lambda: not executors(first), 30, "its executor has left")
    say(f"processes that run user code: {len(executors(first) + executors(second))}")
    first.kill()
    say(f"{first.name} loses its power")
    only(stack, second)
    say(f"nobody decides for {WAIT:g} s …")
    time.sleep(WAIT)
    url = next(line["properties"]["url"] for line in client.logs(run)["lines"] if "url" in (line.get("properties") or {}))
    say(f"POST {url}")
    decide(url, {"approved": True, "by": "Grace"})
    result = until(lambda: client.result(run, wait=10), 60, "the run ends")
    say("")
    show(stack, run)
    found, image = client.retrieve(run), client.timeline(run)["checkpoints"][-1]
    say(f"\nthawed on {found['executor']['nodeName']} in {image['thawMs']} ms; attempts: {found['attemptCount']}")
    say(f"result: {result.get('output') or result.get('error')}")
    expected = {"customer": "Ada", "total": 399.5, "approved": True, "by": "Grace"}
    return (
        bool(result["ok"])
        and json.loads(result["output"]) == expected
        and (found["executor"]["nodeName"], found["attemptCount"]) == (second.name, 1)
    )


def only(stack: NomadStack, node: Node) -> None:
    """That node alone takes jobs from now on."""
    for each in stack.ask("nodes"):
        wanted = "eligible" if each["Name"] == node.name else "ineligible"
        stack.tell("put", f"node/{each['ID']}/eligibility", {"Eligibility": wanted})


def executors(node: Node) -> list[int]:
    """Processes of executors on a node."""
    found = []
    for pid in node.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"sojourn.executor_shim" in command:
            found.append(pid)
    return found


def stands(stack: NomadStack, run: str) -> str:
    """The run's status for the platform."""
    return str(stack.client().timeline(run)["snapshots"][-1]["status"])


def show(stack: NomadStack, run: str) -> None:
    """The run's history and log."""
    client = stack.client()
    for row in client.timeline(run)["snapshots"]:
        say(f"  {row['createdAt'][11:23]}  {row['event']:<10} {row['status']:<26} attempt {row['attempt']}")
    for line in client.logs(run)["lines"]:
        say(f"  {line['at'][11:23]}  {line['level']:<5} {line['message']}")


def decide(url: str, decision: dict[str, Any]) -> None:
    """What whoever decides does: a POST without a key."""
    body = json.dumps(decision).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        say(f"  {answer.status} {answer.read().decode()}")


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
