"""A sandbox from outside in: the holder on the node, the init inside, the user's process below it.

holder    in the node's pid namespace; waits for init and holds the slot's lock
  relay   connects on behalf of those inside; unprivileged (see `relay`)
  init    pid 1 inside: see `init`
    user  the program, without any privilege; a thawed one is made by criu, which init starts

Each is killed by the kernel with the one above it, and the kernel kills everything inside with init.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct

from sojourn.executor_shim.sandbox import (
    cgroup,
    init,
    mounts,
    network,
    options,
    privileges,
    relay,
    seccomp,
    slots,
    syscalls,
)
from sojourn.executor_shim.sandbox.layout import USER_PID
from sojourn.executor_shim.sandbox.netlink import Link
from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from sojourn.executor_shim.sandbox.options import Options, Plan

HOSTNAME = "sojourn"
_HOME = "/tmp"  # noqa: S108 - the sandbox's own
_HIGH = 64
#: Descriptors of one process, at most.
_FILES = 1 << 16
_CREDENTIALS = struct.Struct("=3i")


class Request(Record):
    """A program to be started in a sandbox of its own. `pipes`: its descriptors by their number inside.

    Without a program the sandbox is one for a process that is to be thawed: nothing but init is in it, and `last_pid` is
    the number after which those of its next processes are counted.
    """

    plan: Plan
    program: list[str]
    pipes: dict[int, int]
    last_pid: int = USER_PID - 1


class _Parts(Record):
    """What the holder has made before there are namespaces."""

    slot: int
    uid: int
    locks: tuple[int, int]
    group: cgroup.Group
    wire: network.Wire | None
    rules: network.Rules
    lines: list[relay.Line]
    resolver_rest: str
    calls: bytes


def hold(request: Request, channel: socket.socket) -> None:
    """Makes the sandbox, tells of it over `channel`, and holds it until it ends. A process of its own.

    The answer is a JSON object with two descriptors: init's pidfd, and one end of a socket of which init has the other;
    or an object with `error` alone.
    """
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        shims, inits = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        parts = _prepare(request.plan.options, request.plan)
        first = _fork_inside(request, parts, theirs, inits, (ours, shims))
        pidfd = os.pidfd_open(first)
        user = _await_user(ours)
        told = {"slot": parts.slot, "uid": parts.uid, "init": first, "pid": user, "cgroup": parts.group.directories,
                "missing": parts.group.missing, "address": parts.wire.address if parts.wire else None}  # fmt: skip
        socket.send_fds(channel, [json.dumps(told).encode()], [pidfd, shims.fileno()])
        for each in (ours, shims, channel):
            each.close()
        os.close(pidfd)
        _only_standard(parts.locks)
        os.waitpid(first, 0)
        cgroup.remove(parts.group.directories.values())
    except Exception as error:  # whatever it is: what did not become a sandbox tells why, and is gone with this process
        channel.send(_failure(error))


def _failure(error: Exception) -> bytes:
    text = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    kind = getattr(error, "kind", "") or type(error).__name__
    return json.dumps({"error": text[:2000], "errno": getattr(error, "errno", None) or 0, "kind": kind}).encode()


def die_with_parent() -> None:
    """The kernel kills this process with the one that made it; nobody of its user looks into it."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, int(signal.SIGKILL))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """What loses its parent below this process becomes its child."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)


class _Told(OSError):
    """An error that another process told."""

    def __init__(self, told: dict[str, Any]):
        super().__init__(told["errno"], told["error"])
        self.kind = told["kind"]

    def __str__(self) -> str:
        return str(self.strerror)


# --- the holder


def _prepare(wanted: Options, plan: Plan) -> _Parts:
    calls = seccomp.program(os.uname().machine)
    mounts.open_proc()
    slot, locks = slots.take(wanted.run_dir, wanted.slots)
    os.makedirs(_stage(wanted), 0o700, exist_ok=True)
    group = cgroup.make(slots.group_name(slot, locks[0]), wanted.pids)
    rules = network.rules(wanted)
    servers, rest = relay.resolvers()
    forwards = tuple(options.target(each) for each in wanted.forward)
    lines: list[relay.Line] = []
    wire = None
    if wanted.network != options.HOST:
        lines = relay.lines(plan.api, forwards, servers if wanted.network == options.FILTERED else ())
    if wanted.network == options.FILTERED:
        network.prepare_node(rules, wanted.run_dir)
        wire = network.wire(rules, wanted.pool, slot)
    return _Parts(slot, wanted.uid + slot, locks, group, wire, rules, lines, rest, calls)


def _stage(wanted: Options) -> str:
    return os.path.join(wanted.run_dir, "root")


def _fork_inside(
    request: Request, parts: _Parts, theirs: socket.socket, inits: socket.socket, outside: tuple[socket.socket, ...]
) -> int:
    """Leaves the node's network, and starts init in a pid namespace of its own; init's pid."""
    wanted = request.plan.options
    channel = _start_relay(request, parts) if parts.lines else None
    if wanted.network != options.HOST:
        _leave_network(parts)
    syscalls.unshare(syscalls.CLONE_NEWPID)
    if channel is not None:
        listeners = relay.listen(parts.lines)
        socket.send_fds(channel, [b"!"], [each.fileno() for each in listeners])
        for each in (*listeners, channel):
            each.close()
    first = os.fork()
    if first == 0:
        _run_init(request, parts, theirs, inits, outside)
    theirs.close()
    inits.close()
    for fd in request.pipes.values():
        os.close(fd)
    return first


def _leave_network(parts: _Parts) -> None:
    relayed = tuple({line.address for line in parts.lines})
    link = Link()  # opened here, so it speaks of the node's side after this process has left that
    try:
        if parts.wire is None:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            network.only_loopback(relayed)
            return
        own = link.addresses()
        syscalls.unshare(syscalls.CLONE_NEWNET)
        network.connect(link, parts.wire, os.getpid())
        network.settle(parts.wire, parts.rules, own, relayed)
    finally:
        link.close()


def _start_relay(request: Request, parts: _Parts) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            die_with_parent()
            ours.close()
            _only_standard((theirs.fileno(),))
            _quiet()
            relay.serve(theirs, parts.lines, parts.uid, parts.uid)
        finally:
            os._exit(0)
    theirs.close()
    return ours


def _await_user(ours: socket.socket) -> int:
    """The user's process by its number out here, once init has started it; `OSError`, if it could not."""
    data, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
    told = json.loads(data) if data else {"error": "init was killed before it had begun", "errno": errno.EAGAIN, "kind": ""}
    if "error" in told:
        raise _Told(told)
    return int(_CREDENTIALS.unpack(ancillary[0][2][: _CREDENTIALS.size])[0])


# --- init


def _run_init(
    request: Request,
    parts: _Parts,
    holder: socket.socket,
    shim: socket.socket,
    outside: tuple[socket.socket, ...],
) -> NoReturn:
    try:
        die_with_parent()
        for each in outside:
            each.close()
        try:
            entries = _enter(request, parts)
            user = _start_user(request, parts, entries) if request.program else 0
        except Exception as error:
            holder.send(_failure(error))
            os._exit(1)
        number = user or os.getpid()
        credentials = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, _CREDENTIALS.pack(number, parts.uid, parts.uid))
        holder.sendmsg([b"{}"], [credentials])
        kept = () if user else tuple(entries)
        _only_standard((shim.fileno(), *parts.locks, *kept))
        init.serve(shim, init.Inside(user, parts.uid, kept))
    finally:
        os._exit(1)


def _enter(request: Request, parts: _Parts) -> list[int]:
    """Makes the inside what it is to be; the descriptors by which a process enters its groups."""
    wanted = request.plan.options
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    socket.sethostname(HOSTNAME)
    entries = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in parts.group.entries()]
    code = request.plan.code
    planned = mounts.planned(
        code, wanted.readable, wanted.writable, (wanted.tmp_bytes, wanted.shm_bytes), _files(request.plan, parts)
    )
    mounts.enter(_stage(wanted), planned, code, request.last_pid)
    return entries


def _start_user(request: Request, parts: _Parts, entries: list[int]) -> int:
    """Starts the user's process; its number inside."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    user = os.fork()
    if user == 0:
        _run_user(request, parts, entries, tell)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        failure = pipe.read()  # its end comes with the program's begin
    if failure:
        raise _Told(json.loads(failure))
    return user


def _files(plan: Plan, parts: _Parts) -> dict[str, str]:
    """Files of /etc that are the sandbox's own."""
    uid = parts.uid
    hosts = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"127.0.1.1 {HOSTNAME}"]
    resolver = f"nameserver {relay.RESOLVER}\n"
    if not parts.lines:  # the node's own network
        hosts += _own_hosts()
        resolver = "".join(f"nameserver {each}\n" for each in relay.resolvers()[0])
    elif relay.inside(plan.api.host) == relay.NAMED:
        hosts.append(f"{relay.NAMED} {plan.api.host}")
    return {
        "/etc/hosts": "\n".join(hosts) + "\n",
        "/etc/hostname": HOSTNAME + "\n",
        "/etc/resolv.conf": f"{resolver}{parts.resolver_rest}\n",
        "/etc/passwd": f"root:x:0:0::/:/usr/sbin/nologin\nsojourn:x:{uid}:{uid}::{_HOME}:/bin/sh\n",
        "/etc/group": f"root:x:0:\nsojourn:x:{uid}:\n",
    }


def _own_hosts() -> list[str]:
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file if line.strip() and not line.startswith("#")]
    except OSError:
        return []


# --- the user's process


def _run_user(request: Request, parts: _Parts, entries: list[int], tell: int) -> NoReturn:
    """Becomes the program. What fails before that is told, and is the end."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for entry in entries:
            os.write(entry, b"0")
        _limit(request, parts)
        tell = _take_pipes(request.pipes, parts.uid, tell)
        os.umask(0o022)
        privileges.give_up(parts.uid, parts.uid, parts.calls)
        os.chdir("/")
        environment = {**request.plan.environment, "HOME": _HOME, "TMPDIR": _HOME, "USER": "sojourn", "LOGNAME": "sojourn"}
        os.execve(request.program[0], request.program, environment)  # noqa: S606
    except Exception as error:
        os.write(tell, _failure(error))
    finally:  # whatever it was, this process is not to go on as root
        os._exit(127)


def _limit(request: Request, parts: _Parts) -> None:
    """Where there is no group for processes, the limit is on the user, whom no other sandbox of this node shares."""
    if "pids" not in parts.group.directories:
        most = request.plan.options.pids
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft == resource.RLIM_INFINITY else min(soft, hard), hard))


def _take_pipes(pipes: dict[int, int], uid: int, tell: int) -> int:
    """The program's descriptors at their numbers, /dev/null of the inside as the first, and no other.

    But `tell`, which is closed when the program begins: its new number.
    """
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for number, fd in pipes.items()}
    tell = fcntl.fcntl(tell, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    for number in (1, 2):
        if number in high:  # so that /dev/stdout can be opened
            os.fchown(high[number], uid, uid)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    for number, fd in high.items():
        os.dup2(fd, number)
    _only_standard((*range(max([2, *pipes]) + 1), tell))
    return tell


def _only_standard(kept: tuple[int, ...]) -> None:
    """Closes every descriptor but 0, 1, 2 and those."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue


def _quiet() -> None:
    """Lets go of the shim's own standard descriptors."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)
