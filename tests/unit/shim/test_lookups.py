"""What an import is seen to look up. Each in an interpreter of its own: threads and children of tests would count, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

_PROGRAM = """
import json, os, subprocess, sys, threading, time, _thread
from sojourn.executor_shim.lookups import Lookups

environ, environb, data = os.environ, os.environb, os.environ._data
get = os.environ.get
failed = False
with_code = compile(sys.argv[1], "<import>", "exec")
lookups = Lookups()
try:
    with lookups:
        exec(with_code, {**globals(), "__builtins__": __builtins__})
except LookupError:
    failed = True
is_as_before = environ._data is data and environb._data is data
get("LATER"), len(environ)
told = {"names": lookups.names, "failed": failed, "restored": is_as_before, "left": data.get(b"LEFT", b"").decode()}
print(json.dumps(told), flush=True)
os._exit(0)
"""


def looked(code: str) -> dict[str, Any]:
    """What is told of that code, run as an import."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, code], capture_output=True, text=True, timeout=60, env={**os.environ, "HAD": "1"}
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["restored"]
    return told


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("pass", []),
        ("os.environ.get('HAD'); os.getenv('LACKED')", ["HAD", "LACKED"]),
        ("'LACKED' in os.environ", ["LACKED"]),
        ("os.environb.get(b'HAD'); os.getenvb(b'LACKED')", ["HAD", "LACKED"]),
        ("os.environ.setdefault('LEFT', 'x')", ["LEFT"]),
        ("os.environ['LEFT'] = 'x'", ["LEFT"]),
        ("os.environ.pop('HAD'); os.environ.pop('LACKED', None)", ["HAD", "LACKED"]),
        ("del os.environ['HAD']", ["HAD"]),
        ("os.path.expandvars('$HAD/${LACKED}')", ["HAD", "LACKED"]),
        ("get('HAD')", ["HAD"]),  # a method from before
        ("os.environ.update(LEFT='x')", ["LEFT"]),
    ],
)
def test_names_are_those_that_were_looked_up(code: str, names: list[str]) -> None:
    told = looked(code)
    assert told["names"] == names
    assert told["left"] == ("x" if "LEFT" in names else "")  # what was set is there


@pytest.mark.parametrize(
    "code",
    [
        "list(os.environ)",
        "dict(os.environ)",
        "os.environ.copy()",
        "len(os.environ)",
        "bool(os.environ)",
        "repr(os.environ)",
        "os.environ == {}",
        "os.environ | {}",
        "[*os.environ.items()]",
        "[*os.environ.values()]",
        "'x' in os.environ.values()",
        "list(os.environb)",
        "os.environ.popitem()",
    ],
)
def test_who_goes_through_them_looks_at_all(code: str) -> None:
    assert looked(code)["names"] is None


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(['true'])",
        "subprocess.Popen(['sleep', '5'], env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)",
        "os.system('true')",
        "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
        "os.fork() or os._exit(0)",
        "if os.fork() == 0:\n    os.fork() and os._exit(0)\n    os._exit(0)",
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "_thread.start_new_thread(lambda: time.sleep(60), ()); time.sleep(0.1)",
        "os.environ = {}",
        "os.environ._data = {}",
    ],
)
def test_programs_and_threads_may_look_at_all(code: str) -> None:
    assert looked(code)["names"] is None


def test_a_thread_that_is_over_has_looked_up_what_it_has() -> None:
    code = "one = threading.Thread(target=os.getenv, args=('HAD',))\none.start()\none.join()"
    assert looked(code)["names"] == ["HAD"]


def test_an_import_that_fails_leaves_the_environment_as_it_was() -> None:
    told = looked("os.environ['LACKED']")
    assert told["failed"] and told["names"] == ["LACKED"]
