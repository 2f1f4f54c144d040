"""Output without measure: bounded, told, and no reason to fail."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer
from tests.support.memory import memory

from sojourn.executor_shim.logs import MAX_LINES
from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS

Start = Callable[..., ShimProcess]
MB = 1 << 20


def peak_bytes(shim: ShimProcess) -> int:
    """The most memory that the shim ever had."""
    return memory(shim.pid, "VmHWM")


def test_a_line_of_50_mb_is_cut(server: WorkerServer, start: Start) -> None:
    shim = start()
    run = server.give("long-line")
    assert server.result(run)["outcome"]["ok"]
    cut, after = server.messages(run)
    assert after == "after" and MAX_LOG_LINE_CHARS < len(cut) < MAX_LOG_LINE_CHARS + 100 and cut.endswith("(line cut)")
    assert peak_bytes(shim) < 64 * MB


def test_a_flood_while_nobody_takes_logs_is_dropped_and_counted(server: WorkerServer, start: Start) -> None:
    shim, asked = start(), []
    server.fail = lambda path, body: asked.append(path) if path == "logs" else None
    server.log_pause.clear()
    run = server.give("flood", {"mb": 400})
    assert server.result(run, 180)["outcome"]["ok"]
    assert peak_bytes(shim) < 64 * MB
    server.log_pause.set()
    lines = server.completions[0]["logs"]
    assert len(lines) <= MAX_LINES + 10
    dropped = [line["message"] for line in lines if line["stream"] == "system"]
    assert dropped and all(message.endswith(" lines dropped") for message in dropped)
    total = sum(int(message.split()[0]) for message in dropped)
    kept = sum(line["stream"] == "stdout" for line in lines)
    sent = 400 * 16 * 3276 + 1 - total - kept
    assert 0 <= sent <= 1_000 * len(asked)  # what the server was just taking


def test_bytes_that_are_no_text_are_shown_as_far_as_they_are(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("odd-bytes")
    server.result(run)
    assert server.messages(run) == ["\ufffd\ufffd bad utf-8", "nul \x00 and \x1b[31mred\x1b[0m", "last"]


def test_every_line_of_the_logger_arrives_once(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("many-logs", {"count": 3_000, "nap": 1.5})
    server.result(run)
    server.wait_for(lambda: len(server.log(run)) == 3_000)
    assert [line["properties"]["number"] for line in server.log(run)] == list(range(3_000))
    assert server.lines
