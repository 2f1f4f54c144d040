"""The few addresses of the node's side that a sandbox reaches: a process outside connects on behalf of those inside.

The API's own address and resolvers need not be reachable by routes then, and URLs are the same inside and outside.
It has no privileges, and knows no more than where to connect to.
"""

from __future__ import annotations

import os
import select
import signal
import socket

from sojourn.executor_shim.sandbox import privileges, syscalls
from sojourn.executor_shim.sandbox.options import Target
from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

RESOLVER = "127.0.0.53"
#: Where a host name of the API leads to inside.
NAMED = "127.0.0.54"
_CONNECTIONS, _QUERIES = 256, 128
_CHUNK = 1 << 16
_QUERY_SECONDS = 5.0


class Line(Record):
    """Listens inside at `address` and `port`; `kind` is tcp or udp; `to` are tried in turn."""

    kind: str
    address: str
    port: int
    to: tuple[Target, ...]


def lines(api: Target, forwards: tuple[Target, ...], resolvers: tuple[str, ...]) -> list[Line]:
    """What is to be relayed. Resolvers are addresses; none: names are not resolved."""
    found = [Line("tcp", inside(api.host), api.port, (api,))]
    found += [Line("tcp", "127.0.0.1", each.port, (each,)) for each in forwards]
    if resolvers:
        to = tuple(Target(each, 53) for each in resolvers)
        found += [Line(kind, RESOLVER, 53, to) for kind in ("tcp", "udp")]
    unique = {(each.kind, each.address, each.port): each for each in reversed(found)}
    return list(unique.values())


def inside(host: str) -> str:
    """The address inside for a host of the node's side: an address is kept."""
    if _is_address(host):
        return host
    return "127.0.0.1" if host == "localhost" else NAMED


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
            return True
        except OSError:
            continue
    return False


def listen(made: list[Line]) -> list[socket.socket]:
    """The listening sockets, in the network namespace of this process."""
    opened = []
    for line in made:
        family = socket.AF_INET6 if ":" in line.address else socket.AF_INET
        kind = socket.SOCK_STREAM if line.kind == "tcp" else socket.SOCK_DGRAM
        listener = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((line.address, line.port))
        if kind == socket.SOCK_STREAM:
            listener.listen(64)
        opened.append(listener)
    return opened


def serve(channel: socket.socket, made: list[Line], uid: int, gid: int) -> None:
    """Takes the sockets from `channel`, then relays until it is killed. A process of its own, outside.

    It gives its privileges up before it takes a word from inside, and after its imports, which its user may not read.
    """
    _, descriptors, _, _ = socket.recv_fds(channel, 1, len(made))
    if len(descriptors) != len(made):
        return
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    poll.poll()  # most runs never come here: what follows costs 30 ms and 10 MB
    import asyncio
    import concurrent.futures.thread  # noqa: F401
    import encodings.idna  # noqa: F401

    holder = os.getppid()
    privileges.become(uid, gid)
    # A change of user makes the kernel forget whose death is this process's own.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, int(signal.SIGKILL))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if os.getppid() != holder:
        return
    asyncio.run(_relay([socket.socket(fileno=fd) for fd in descriptors], made))


async def _relay(listeners: list[socket.socket], made: list[Line]) -> None:
    import asyncio

    loop, free = asyncio.get_running_loop(), asyncio.Semaphore(_CONNECTIONS)
    for listener, line in zip(listeners, made, strict=True):
        listener.setblocking(False)
        if line.kind == "udp":
            loop.create_task(_answer_queries(listener, line.to))
            continue

        async def serve_one(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: tuple[Target, ...] = line.to
        ) -> None:
            async with free:
                await _join(reader, writer, to)

        await asyncio.start_server(serve_one, sock=listener)
    await asyncio.Event().wait()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: tuple[Target, ...]) -> None:
    import asyncio

    other: asyncio.StreamWriter | None = None
    try:
        for target in to:
            try:
                answers, other = await asyncio.wait_for(asyncio.open_connection(target.host, target.port), 10)
                break
            except OSError:
                continue
        if other is not None:
            await asyncio.gather(_copy(reader, other), _copy(answers, writer))
    except OSError:
        pass
    finally:
        for each in (writer, other):
            if each is not None:
                each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _answer_queries(listener: socket.socket, to: tuple[Target, ...]) -> None:
    import asyncio

    loop, under_way = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    while True:
        query, asker = await loop.sock_recvfrom(listener, _CHUNK)
        if len(under_way) < _QUERIES:
            task = loop.create_task(_ask(listener, query, asker, to))
            under_way.add(task)
            task.add_done_callback(under_way.discard)


async def _ask(listener: socket.socket, query: bytes, asker: object, to: tuple[Target, ...]) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    for target in to:
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asked:
            try:
                asked.connect((target.host, target.port))
                await loop.sock_sendall(asked, query)
                answer = await asyncio.wait_for(loop.sock_recv(asked, _CHUNK), _QUERY_SECONDS)
                await loop.sock_sendto(listener, answer, asker)  # type: ignore[arg-type]
                return
            except OSError:  # TimeoutError is one
                continue


def resolvers(path: str = "/etc/resolv.conf") -> tuple[tuple[str, ...], str]:
    """The node's resolvers, and what its file says of search lists and options."""
    servers, rest = [], []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                word, _, value = line.strip().partition(" ")
                if word == "nameserver" and _is_address(value.strip()):
                    servers.append(value.strip())
                elif word in ("search", "domain", "options"):
                    rest.append(line.strip())
    except OSError:  # no file: the default is this machine
        servers = ["127.0.0.1"]
    return tuple(servers), "\n".join(rest)
