"""How fast one executor goes: a real shim and user process against a stub of the worker API in a process of its own.

Prints one row: runs per second, and the processor time a run costs the shim and the user's process.
Usage: python bench/shim_loop.py [RUNS]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sojourn.sdk import archive

_TASK = "from sojourn import task\n\n\n@task\ndef noop(payload):\n    return None\n"
_WARM_UP = 200


def assignment(number: int) -> dict[str, object]:
    """A run as the control plane gives it."""
    moment = "2026-01-01T00:00:00+00:00"
    return {
        "run": {
            "id": f"run_{number}", "payload": '{"n":1}', "payloadType": "application/json", "tags": [],
            "isTest": False, "isReplay": False, "createdAt": moment, "startedAt": moment, "maxAttempts": 3,
            "version": "20260101.1",
        },
        "attempt": {"number": 1, "startedAt": moment},
        "task": {"id": "noop", "filePath": "tasks.py", "exportName": "noop"},
        "retry": {"maxAttempts": 3, "minTimeoutInMs": 1000, "maxTimeoutInMs": 60000, "factor": 2, "randomize": True},
        "queue": {"id": "task/noop", "name": "noop"},
        "environment": {"id": "env_1", "slug": "dev", "type": "DEVELOPMENT"},
        "organization": {"id": "org_1", "slug": "org", "name": "Org"},
        "project": {"id": "project_1", "ref": "proj_1", "slug": "project", "name": "Project"},
        "deployment": {"id": "version_1", "version": "20260101.1", "hash": "0" * 64},
        "machine": {"name": "small-1x", "cpu": 0.5, "memory": 0.5, "centsPerMs": 0},
        "snapshot": 3, "token": "t" * 150, "memoryBytes": 1 << 29, "maxDuration": None, "variables": {},
        "apiUrl": "http://127.0.0.1:3030", "secretKey": "tr_dev_x", "lease": 60, "heartbeat": 10,
    }  # fmt: skip


def serve(listener: socket.socket, packed: bytes, runs: int, told: multiprocessing.JoinableQueue[float]) -> None:
    """Answers one connection: the archive, then a run a request; tells how long all but the first took.

    The executor waits for its last answer until its processor time was read.
    """
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data, given, began = b"", 0, 0.0
    while True:
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(data) < length:
            data += connection.recv(65536)
        data = data[length:]
        if head.startswith(b"GET"):
            answer = packed
        elif given < runs:
            given += 1
            began = time.monotonic() if given == _WARM_UP else began
            answer = json.dumps({"completion": {"result": "RUN_FINISHED"}, "work": assignment(given)}).encode()
        else:
            told.put(time.monotonic() - began)
            told.join()
            answer = b'{"leave": "done"}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        if given == runs and answer.startswith(b'{"leave'):
            return


def processor_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Runs it once."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory) / "project"
        project.mkdir()
        (project / "tasks.py").write_text(_TASK)
        packed, content_hash = archive.pack(project)
        listener = socket.create_server(("127.0.0.1", 0))
        told: multiprocessing.JoinableQueue[float] = multiprocessing.JoinableQueue()
        server = multiprocessing.Process(target=serve, args=(listener, packed, runs, told))
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = {
            "api_url": url, "credential": "c" * 150, "executor": "executor_bench", "version_hash": content_hash,
            "versions_dir": f"{directory}/versions", "max_runs": 10**9,
        }  # fmt: skip
        read, write = os.pipe()
        os.write(write, json.dumps(settings).encode())
        os.close(write)
        command = [sys.executable, "-m", "sojourn.executor_shim", "--config-fd", str(read)]
        with subprocess.Popen(command, pass_fds=(read,)) as shim:
            os.close(read)
            try:
                took = told.get(timeout=120)
                child = int(Path(f"/proc/{shim.pid}/task/{shim.pid}/children").read_text().split()[0])
                used = [1_000 * processor_seconds(pid) / runs for pid in (shim.pid, child)]
                told.task_done()
                shim.wait(10)
            finally:
                if shim.poll() is None:
                    shim.send_signal(signal.SIGKILL)
        server.join()
    counted = runs - _WARM_UP + 1
    print(
        f"{runs} runs: {counted / took:.0f}/s, {1_000 * took / counted:.3f} ms a run; "
        f"processor a run, start-up included: shim {used[0]:.3f} ms, user's process {used[1]:.3f} ms"
    )


if __name__ == "__main__":
    main()
