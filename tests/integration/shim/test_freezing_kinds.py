"""What of a process survives a freeze, kind by kind, and what is refused so that the process goes on.

Each case is a program of two halves: it is frozen between them, and thawed in another slot: as another user, with another
address. The first half's names are the second's.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.shim.icebox import CONTEXT, KEY, Icebox
from tests.support.freezers import needs_freezing

from sojourn.executor_shim import freezing
from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.freezing.errors import FreezeFailed
from sojourn.executor_shim.sandbox.process import SandboxedProcess

_PATIENCE = 90.0
_HEAD = """
import ctypes, fcntl, mmap, os, select, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None)
def say(text): os.write(1, text.encode() + b"\\n")
"""
_BETWEEN = """
say("ready")
os.read(3, 1)
"""
KEPT = {
    "devices": ("f, g = open('/dev/urandom', 'rb'), open('/dev/null', 'w')", "assert f.read(4); g.write('x'); g.flush()"),
    "a terminal": ("m, s = os.openpty()", "os.write(m, b'hi\\n'); assert os.read(s, 9) == b'hi\\n'"),
    "a child with a terminal": (
        "import pty\nchild, m = pty.fork()\nif child == 0: os.execlp('cat', 'cat')",
        "os.write(m, b'hi\\n'); assert os.read(m, 9).startswith(b'hi')",
    ),
    "inotify": (
        "i = libc.inotify_init(); assert libc.inotify_add_watch(i, b'/tmp', 0x100) > 0",
        "open('/tmp/new', 'w'); assert os.read(i, 999)",
    ),
    "epoll": ("e = select.epoll(); r, w = os.pipe(); e.register(r, 1); e.register(3, 1)",
              "os.write(w, b'x'); assert e.poll(1) == [(r, 1)]"),
    "eventfd": ("e = os.eventfd(3)", "assert os.eventfd_read(e) == 3"),
    "pidfd": ("p = subprocess.Popen(['sleep', '100']); f = os.pidfd_open(p.pid)",
              "p.kill(); assert select.select([f], [], [], 60)[0]"),
    "timerfd": (
        "import struct\nt = libc.timerfd_create(1, 0)\n"
        "libc.timerfd_settime(t, 0, struct.pack('qqqq', 0, 50_000_000, 1, 0), None)",
        "assert os.read(t, 8)",
    ),
    "signalfd": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [10]); mask = ctypes.create_string_buffer(b'\\0\\2', 128)\n"
        "f = libc.signalfd(-1, mask, 0)",
        "os.kill(os.getpid(), 10); assert len(os.read(f, 128)) == 128",
    ),
    "a pending signal": (
        "signal.signal(12, lambda *_: say('rung')); signal.pthread_sigmask(signal.SIG_BLOCK, [12]); "
        "os.kill(os.getpid(), 12)",
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [12])",
    ),
    "connections are closed, listeners are not": (
        "l = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(l.getsockname()); s, _ = l.accept()\n"
        "late = socket.create_connection(l.getsockname()); c.send(b'x')",
        "assert s.recv(9) == b''\n"
        "try: c.send(b'y'); assert False\n"
        "except BrokenPipeError: pass\n"
        "again = socket.create_connection(l.getsockname()); t, _ = l.accept(); again.send(b'z'); assert t.recv(9) == b'z'",
    ),
    "a connection that is being made": (
        "c = socket.socket(); c.setblocking(False); c.connect_ex(('8.8.8.8', 80))", "c.close()",
    ),
    "datagrams' sockets": (
        "u = socket.socket(2, 2); u.bind(('127.0.0.1', 0)); v = socket.socket(2, 2); v.connect(u.getsockname())",
        "v.send(b'x'); assert u.recv(9) == b'x'",
    ),
    "sockets at the sandbox's own address": (
        "u = socket.socket(2, 2); u.connect(('8.8.8.8', 53)); old = u.getsockname()[0]\nl = socket.create_server((old, 0))",
        "new = u.getsockname()[0]; assert new != old and l.getsockname()[0] == new\n"
        "socket.create_connection(l.getsockname())",
    ),
    "netlink": ("n = socket.socket(16, 3, 0); n.bind((0, 0))", "assert n.getsockname()"),
    "datagrams under way": (
        "a, b = socket.socketpair(1, 2); a.send(b'one'); a.send(b'two')",
        "assert (b.recv(9), b.recv(9)) == (b'one', b'two')",
    ),
    "a descriptor under way": (
        "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])", "assert socket.recv_fds(b, 9, 2)[1]",
    ),
    "abstract names": ("a = socket.socket(1); a.bind('\\0name'); a.listen()", "socket.socket(1).connect('\\0name')"),
    "locks of files": (
        "f = open('/tmp/l', 'w'); fcntl.flock(f, 2)",
        "try: fcntl.flock(open('/tmp/l', 'w'), 2 | 4); assert False\nexcept BlockingIOError: pass",
    ),
    "a child in a session of its own": (
        "p = subprocess.Popen(['sleep', '100'], start_new_session=True)",
        "assert p.poll() is None; p.kill(); assert p.wait() == -9",
    ),
    "a shell's jobs": (
        "p = subprocess.Popen('set -m; true | sleep 100 & wait', shell=True); time.sleep(0.2)",
        "assert p.poll() is None; p.kill()",
    ),
    "a child that was stopped stays so": (
        "p = subprocess.Popen(['sleep', '100']); os.kill(p.pid, 19); os.waitpid(p.pid, os.WUNTRACED)",
        "assert open(f'/proc/{p.pid}/stat').read().split()[2] == 'T'; p.kill()",
    ),
    "a child that has ended": (
        "p = subprocess.Popen(['true']); os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)", "assert p.wait() == 0",
    ),
    "a child that ends with its parent": (
        "p = subprocess.Popen(['sleep', '100'], preexec_fn=lambda: libc.prctl(1, 9))", "assert p.poll() is None",
    ),
    "one that wants to end with its parent": ("libc.prctl(1, 9)", ""),
    "multiprocessing": (
        "import multiprocessing\nctx = multiprocessing.get_context('fork')\n"
        "q, l, v = ctx.Queue(), ctx.Lock(), ctx.Value('i', 5)\n"
        "p = ctx.Process(target=lambda: [q.put(n) or time.sleep(0.01) for n in range(50)]); p.start()",
        "assert [q.get(timeout=60) for _ in range(50)] == list(range(50)); p.join(); assert l.acquire() and v.value == 5",
    ),
    "a pool of processes": (
        "from concurrent.futures import ProcessPoolExecutor\np = ProcessPoolExecutor(2)\n"
        "assert list(p.map(abs, [-1])) == [1]",
        "assert list(p.map(abs, [-1, -2])) == [1, 2]; p.shutdown()",
    ),
    "directories that were removed": (
        "os.mkdir('/tmp/d'); os.chdir('/tmp/d'); d = os.open('.', 0); os.rmdir('/tmp/d')", "os.chdir('/')",
    ),
    "a file that was removed under one name": (
        "f = open('/tmp/a', 'w+'); f.write('hello'); f.flush(); os.link('/tmp/a', '/tmp/b'); os.unlink('/tmp/a')",
        "f.seek(0); assert f.read() == 'hello' and not [n for n in os.listdir('/tmp') if 'remap' in n]",
    ),
    "a large file with a hole that was removed": (
        "f = open('/tmp/a', 'w+b'); f.truncate(1 << 33); f.write(b'hello'); f.flush(); os.unlink('/tmp/a')",
        "f.seek(0); assert f.read(5) == b'hello' and os.stat(f.fileno()).st_size == 1 << 33",
    ),
    "a mapped file that was removed": (
        "f = open('/dev/shm/a', 'w+b'); f.truncate(4096); m = mmap.mmap(f.fileno(), 4096)\n"
        "os.unlink('/dev/shm/a'); m[:2] = b'ab'",
        "assert m[:2] == b'ab'",
    ),
    "memory that is shared with a child": (
        "m = mmap.mmap(-1, 4096); r, w = os.pipe()\nif os.fork() == 0: os.read(r, 1); m[:2] = b'cd'; os._exit(0)",
        "os.write(w, b'x'); os.wait(); assert m[:2] == b'cd'",
    ),
    "a sealed memfd": ("f = os.memfd_create('x', 2); os.write(f, b'a'); fcntl.fcntl(f, 1033, 8)",
                       "assert os.pread(f, 1, 0) == b'a'"),
    "a file in a directory without rights": (
        "os.mkdir('/tmp/d'); f = open('/tmp/d/x', 'w'); os.chmod('/tmp/d', 0o500)", "f.write('2'); f.flush()",
    ),
    "files of /proc and /sys": (
        "f = open('/proc/self/status'); d = os.open('/proc/self/fd', 0); c = open('/sys/devices/system/cpu/online')",
        "assert 'Name' in f.read() and os.listdir(d) and c.read()",
    ),
    "a child that writes to the shim": (
        "p = subprocess.Popen(['sh', '-c', 'read x; echo from the child'], stdin=subprocess.PIPE)",
        "p.communicate(b'now\\n')",
    ),
    "a filter of its own": (
        "import struct\nsteps = b''.join(struct.pack('HBBI', *each) for each in ((32, 0, 0, 0), (21, 0, 1, 170),\n"
        "    (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)))\n"
        "code = ctypes.create_string_buffer(steps)\n"
        "class Filter(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]\n"
        "made = Filter(4, ctypes.addressof(code)); assert libc.prctl(22, 2, ctypes.byref(made), 0, 0) == 0",
        "assert 'Seccomp_filters:\\t2' in open('/proc/self/status').read() and libc.sethostname(b'x', 1) == -1",
    ),
    "limits and niceness": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (100, 200)); n = os.nice(5)",
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100, 200) and os.nice(0) == n",
    ),
    "a hundred threads": (
        "for _ in range(100): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
        "assert threading.active_count() == 101; os.write(1, b'ok\\n'); os._exit(0)",
    ),
    "much memory": ("b = bytearray(200 << 20)", "assert len(b) == 200 << 20"),
    "what may not be looked into": ("libc.prctl(4, 0); libc.prctl(15, b'renamed'); libc.prctl(36, 1)",
                                    "assert open('/proc/self/comm').read() == 'renamed\\n'"),
}  # fmt: skip
REFUSED = {
    "a daemon": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    time.sleep(100)\n"
        "os.wait(); time.sleep(0.1)",
        "a daemon cannot be kept",
    ),
    "System V memory": (
        "libc.shmat.restype = ctypes.c_void_p; a = libc.shmat(libc.shmget(0, 4096, 0o1600), None, 0)",
        "System V shared memory cannot be kept",
    ),
    "System V semaphores": ("assert libc.semget(0, 1, 0o1600) >= 0", "System V semaphores cannot be kept"),
    "System V messages": ("assert libc.msgget(0, 0o1600) >= 0", "System V message queues cannot be kept"),
    "POSIX messages": ("assert libc.mq_open(b'/q', 0o102, 0o600, None) >= 0", "path=/q"),
}  # fmt: skip


@pytest.fixture(scope="module")
def icebox() -> Iterator[Icebox]:
    needs_freezing()
    made = Icebox({"network": "filtered"})
    yield made
    made.close()


class Program:
    """A program in a sandbox, or its thawed self; what it says and what it is told."""

    def __init__(self, icebox: Icebox, text: str = "", image: str = ""):
        self.output, writing = os.pipe()
        reading, self.input = os.pipe()
        pipes = {1: writing, 2: writing, 3: reading}
        environment = {"PATH": os.environ["PATH"]}
        try:
            if image:
                self.process = icebox.thaw_process(environment, pipes, image)
            else:
                program = [sys.executable, "-I", "-c", text]
                self.process = SandboxedProcess(icebox.keeper, icebox.plan(environment), program, pipes)
        finally:
            os.close(writing)
            os.close(reading)

    def until(self, end: str) -> str:
        """What it says, up to a line that is `end`."""
        said, deadline = b"", time.monotonic() + _PATIENCE
        while not said.endswith(f"{end}\n".encode()):
            poll = select.poll()
            poll.register(self.output, select.POLLIN)
            assert poll.poll(max(deadline - time.monotonic(), 0) * 1000), said.decode()
            data = os.read(self.output, 4096)
            assert data, said.decode()
            said += data
        return said.decode()

    def tell(self) -> None:
        """Its second half may begin."""
        os.write(self.input, b"!")

    def end(self) -> None:
        """Ends it, and lets go of it."""
        self.process.kill()
        self.process.close()
        os.close(self.output)
        os.close(self.input)


def frozen(program: Program, directory: str) -> dict[str, int]:
    """The stopped process's private directories."""
    criu = freezing.find_criu()
    assert criu
    fd = os.open(directory, os.O_RDONLY)
    try:
        return program.process.freeze(fd, criu, 30)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", KEPT)
def test_it_is_kept(icebox: Icebox, tmp_path: Path, name: str) -> None:
    before, after = KEPT[name]
    program = Program(icebox, f"{_HEAD}{before}{_BETWEEN}{after}\nsay('ok')")
    thawed = None
    try:
        program.until("ready")
        with places.workplace() as place:
            private = frozen(program, place)
            with (tmp_path / "image").open("wb") as out:
                directory = os.open(place, os.O_RDONLY)
                images.pack(directory, private, out, KEY, CONTEXT)
            for fd in (directory, *private.values()):
                os.close(fd)
        with places.workplace() as place, (tmp_path / "image").open("rb") as source:
            images.unpack(source, f"{place}/image", KEY, CONTEXT)
            thawed = Program(icebox, image=f"{place}/image")
        thawed.process.go_on()
        thawed.tell()
        thawed.until("ok")
    finally:
        for each in (program, thawed):
            if each is not None:
                each.end()


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_the_process_goes_on(icebox: Icebox, name: str) -> None:
    before, why = REFUSED[name]
    program = Program(icebox, f"{_HEAD}{before}{_BETWEEN}\nsay('ok')")
    try:
        program.until("ready")
        with places.workplace() as place, pytest.raises(FreezeFailed) as refused:
            frozen(program, place)
        assert why in str(refused.value)
        assert "\n" not in str(refused.value)
        program.tell()
        program.until("ok")
    finally:
        program.end()


def test_names_that_criu_gave_are_gone_where_it_goes_on_in_place(icebox: Icebox) -> None:
    before = KEPT["a file that was removed under one name"][0]
    program = Program(
        icebox, f"{_HEAD}{before}{_BETWEEN}\nassert 'b' in os.listdir('/tmp'); say(str(os.listdir('/tmp')))\nsay('ok')"
    )
    try:
        program.until("ready")
        with places.workplace() as place:
            for fd in frozen(program, place).values():
                os.close(fd)
        program.process.thaw_in_place()
        program.tell()
        assert "remap" not in program.until("ok")
    finally:
        program.end()
