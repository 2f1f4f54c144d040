"""Many requests at the same moment, from many processes: each has its connections open, and writes when it is told to.

As a program: reads one JSON document from its standard input, says "ready", waits for a line more, and prints the answers.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PATIENCE = 60


def stampede(port: int, requests: Sequence[bytes], processes: int) -> list[dict[str, Any]]:
    """The JSON of every answer. The requests are dealt out to so many processes, which all send theirs at once."""
    hands = [list(requests[n::processes]) for n in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        for _ in hands
    ]
    try:
        for process, hand in zip(started, hands, strict=True):
            assert process.stdin is not None
            print(
                json.dumps({"port": port, "requests": [each.decode("latin-1") for each in hand]}),
                file=process.stdin,
                flush=True,
            )
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            print(file=process.stdin, flush=True)
        return [answer for process in started for answer in json.loads(process.communicate(timeout=_PATIENCE)[0])]
    finally:
        for process in started:
            process.kill()
            process.wait()


def _run() -> None:
    told = json.loads(sys.stdin.readline())
    requests = [each.encode("latin-1") for each in told["requests"]]
    connections = [socket.create_connection(("127.0.0.1", told["port"]), timeout=_PATIENCE) for _ in requests]
    print("ready", flush=True)
    sys.stdin.readline()
    for connection, request in zip(connections, requests, strict=True):
        connection.sendall(request)
    answers = []
    for connection in connections:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answers.append(json.loads(answer.read()))
    print(json.dumps(answers))


if __name__ == "__main__":
    _run()
