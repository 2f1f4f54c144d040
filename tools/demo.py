"""The demo: starts the real stack in a temporary directory, deploys `examples/`, runs them, shows it, stops.

On a terminal it stays until Ctrl-C, so that one can look at it; elsewhere, and where CI is set, it ends by itself.

With `--nomad` executors are jobs of a private Nomad agent, and the demo ends with what `nomad job status` says of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from sojourn.control_plane.embedded.free_ports import free_ports
from sojourn.sdk.client import Client

ROOT = Path(__file__).resolve().parent.parent
SOJOURN = [sys.executable, "-m", "sojourn.cli"]
FAN = 20


def main() -> int:
    """0 when every run ended as it should."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    data = Path(tempfile.mkdtemp(prefix="sojourn-demo-"))
    started, on_nomad = time.monotonic(), sys.argv[1:] == ["--nomad"]
    options = ["--nomad"] if on_nomad else []
    try:
        say(f"starting PostgreSQL, Redis, {'Nomad, ' if on_nomad else ''}control plane and scheduler …")
        found = run("up", "--detach", "--json", *options, "--data-dir", str(data), "--port", str(free_ports(1)[0]))
        say(f"ready after {time.monotonic() - started:.1f} s: {found['api_url']}")
        environment = {**os.environ, "SOJOURN_DATA_DIR": str(data)}
        subprocess.run([*SOJOURN, "deploy", str(ROOT / "examples")], check=True, env=environment)
        client = Client(found["api_url"], found["environments"]["dev"]["secret_key"])
        good = [retried(client), fanned_out(client), cancelled(client)]
        if on_nomad:
            good.append(every_cold_run_is_a_job(client, data))
        check = subprocess.run([*SOJOURN, "fsck"], env=environment).returncode == 0
        say(f"dashboard: {run('status', '--json', '--data-dir', str(data))['dashboard_url']}")
        if sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI"):
            stay(data)
        return 0 if all(good) and check else 1
    except KeyboardInterrupt:
        return 130
    finally:
        stop(data)


def stop(data: Path) -> None:
    """Ends the stack and removes what it had; nothing interrupts that, and no terminal is needed for it."""
    ignore_interrupts()
    with suppress(OSError):
        say("stopping …")
    subprocess.run([*SOJOURN, "down", "--data-dir", str(data)], check=False, stdout=subprocess.DEVNULL)
    shutil.rmtree(data, ignore_errors=True)


def ignore_interrupts() -> None:
    """From now on; so do the programs that are started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def stay(data: Path) -> None:
    """Until Ctrl-C."""
    command = Path(sys.executable).with_name("sojourn")
    say("\nit stays until Ctrl-C; the link above opens once. In another terminal:")
    say(f"  export SOJOURN_DATA_DIR={data}")
    say(f"  {command} trigger steps --payload 5 --follow")
    say(f"  {command} status    # another link")
    with suppress(KeyboardInterrupt):
        signal.pause()


def retried(client: Client) -> bool:
    """A task that fails once and then succeeds."""
    say("\na task that fails once, then succeeds")
    made = client.trigger("flaky", {"order": 17})
    result = finish(client, made["id"])
    show(client, made["id"])
    return bool(result["ok"]) and json.loads(result["output"])["attempts"] == 2


def fanned_out(client: Client) -> bool:
    """A task that triggers 20 others."""
    say(f"\na fan-out of {FAN}")
    made = client.trigger("fan-out", FAN)
    children = json.loads(finish(client, made["id"])["output"])
    squares = [json.loads(finish(client, child)["output"]) for child in children]
    show(client, made["id"])
    say(f"  squares: {squares}")
    return squares == [n * n for n in range(FAN)]


def cancelled(client: Client) -> bool:
    """A task that is cancelled while it runs; its hook tells so in its log."""
    say("\na task that is cancelled while it runs")
    made = client.trigger("nap", 60)
    while client.retrieve(made["id"])["status"] != "EXECUTING":
        time.sleep(0.05)
    client.cancel(made["id"])
    result = finish(client, made["id"])
    while client.timeline(made["id"])["snapshots"][-1]["status"] != "FINISHED":
        time.sleep(0.05)
    show(client, made["id"])
    return not result["ok"] and client.retrieve(made["id"])["status"] == "CANCELED"


def every_cold_run_is_a_job(client: Client, data: Path) -> bool:
    """Nomad's own list of jobs beside the runs that were cold starts; the same number, each with its run's id."""
    cold = {}
    for listed in client.list_runs({"page[size]": 100})["data"]:
        attempts = client.timeline(listed["id"])["attempts"]
        if attempts and attempts[0]["warmStart"] is False:
            cold[listed["id"]] = client.retrieve(listed["id"])["executor"]
    children = {job["Meta"].get("run"): job for job in nomad(data, "jobs?meta=true") if job["ParentID"]}
    say(f"\n{len(cold)} cold runs, {len(children)} batch jobs in Nomad")
    for run_id, executor in sorted(cold.items()):
        status = children[run_id]["Status"] if run_id in children else "no job"
        say(f"  {run_id}  {status}  {executor.get('nodeName')}  {executor.get('jobId', '')[-40:]}")
    return cold.keys() <= children.keys()


def nomad(data: Path, path: str) -> Any:
    """Something of the private agent's API, read by the token that Sojourn itself has."""
    port = json.loads((data / "nomad" / "ports.json").read_text())["http"]
    token = (data / "nomad" / "run-time.token").read_text().split()[-1]
    separator = "&" if "?" in path else "?"
    url = f"http://127.0.0.1:{port}/v1/{path}{separator}namespace=sojourn"
    request = urllib.request.Request(url, headers={"X-Nomad-Token": token})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def finish(client: Client, run_id: str) -> dict[str, Any]:
    """The run's result."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        result = client.result(run_id, wait=10)
        if result is not None:
            return result
    raise SystemExit(f"{run_id} did not end within 60 s")


def show(client: Client, run_id: str) -> None:
    """A run's timeline, log and result."""
    run_, timeline = client.retrieve(run_id), client.timeline(run_id)
    for row in timeline["snapshots"]:
        say(f"  {row['createdAt'][11:23]}  {row['event']:<20} {row['status']:<18} attempt {row['attempt']}")
    for line in client.logs(run_id)["lines"]:
        say(f"  {line['at'][11:23]}  {line['level']:<5} {line['message']}")
    told = run_.get("output", (run_.get("error") or {}).get("message"))
    say(f"  -> {run_['status']}: {json.dumps(told)[:100]}")


def run(*arguments: str) -> dict[str, Any]:
    """A command of the CLI, its JSON read; `SystemExit` with its code if it fails, of which it has told.

    An interrupted one is not killed but asked to end and waited for: `sojourn up` takes along what it has begun to start.
    """
    with subprocess.Popen([*SOJOURN, *arguments], stdout=subprocess.PIPE, text=True) as command:
        try:
            told, _ = command.communicate()
        except BaseException:
            ignore_interrupts()
            command.terminate()
            command.wait()
            raise
    if command.returncode != 0:
        raise SystemExit(command.returncode)
    found: dict[str, Any] = json.loads(told)
    return found


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
