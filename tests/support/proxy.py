"""A proxy on loopback that loses what it should: it can be cut for a while, and can lose single answers.

Requests are looked at as they come, each in one piece: what one thread sends at once over loopback arrives at once.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

_READ, _PIECE = 1 << 20, 1 << 14
_CREDENTIAL = re.compile(rb"Authorization: Bearer (\S+)")

#: A host and a port, or the path of a unix socket.
Address = tuple[str, int] | str


@dataclass(frozen=True)
class Seen:
    """A piece of what a client sent, or was sent. `who`: the credential in it, or of the connection; `peer`: its host."""

    at: float
    who: bytes
    data: bytes
    peer: str = ""


@dataclass
class _Loss:
    """An answer that is to be lost, or changed: the next one to a request with `marker` in it."""

    marker: bytes
    is_silent: bool = False
    change: Callable[[bytes], bytes] | None = None


@dataclass(eq=False)
class _Link:
    """One connection. `loss` is set when its next answer is lost; `dropped` is there once one was: it gets the rest."""

    client: socket.socket
    server: socket.socket
    peer: str = ""
    who: bytes = b""
    asked: bytes = b""
    loss: _Loss | None = None
    dropped: bytearray | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    sides: int = 2

    def end(self) -> None:
        self.ended.set()
        for each in (self.client, self.server):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Proxy:
    """Forwards from `port` to `upstream`, until it is closed. `most`: bytes that are remembered of one piece."""

    def __init__(self, upstream: Address, host: str = "127.0.0.1", most: int | None = None):
        self._upstream = upstream
        self._most = most
        self._rate: float | None = None
        self._changed = threading.Condition()
        self._is_cut: Callable[[_Link], bool] = lambda link: False
        self._losses: list[_Loss] = []
        self._links: list[_Link] = []
        self.seen: list[Seen] = []
        self.answered: list[Seen] = []
        self.dropped: list[bytearray] = []
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    # --- what tests do

    def cut(self, who: bytes | None = None) -> None:
        """Nothing goes through any more, in either direction: for everybody, or for one credential.

        What is sent meanwhile is held, and goes through afterwards, as TCP would send it again.
        """
        with self._changed:
            self._is_cut = lambda link: who is None or link.who == who

    def hold(self, marker: bytes) -> None:
        """Requests with `marker` in them, and their answers, wait until it heals."""
        with self._changed:
            self._is_cut = lambda link: marker in link.asked

    def heal(self) -> None:
        """Everything goes through again, what was held first."""
        with self._changed:
            self._is_cut = lambda link: False
            self._changed.notify_all()

    def slow(self, rate: float | None) -> None:
        """Each connection's requests pass at so many bytes a second; None: as they come."""
        self._rate = rate

    def lose_answer(self, marker: bytes, *, times: int = 1, is_silent: bool = False) -> None:
        """The next request with `marker` in it arrives, and its answer does not.

        The connection ends when the answer comes; with `is_silent` it stays, and says nothing any more.
        """
        with self._changed:
            self._losses += [_Loss(marker, is_silent) for _ in range(times)]

    def change_answer(self, marker: bytes, change: Callable[[bytes], bytes], *, times: int = 1) -> None:
        """What comes first of the next answer's body, to a request with `marker` in it, is sent as `change` makes it.

        The connection ends with what is made shorter.
        """
        with self._changed:
            self._losses += [_Loss(marker, change=change) for _ in range(times)]

    @property
    def lost(self) -> int:
        """How many answers were lost so far; `dropped` has them."""
        return len(self.dropped)

    def requests(self, marker: bytes) -> list[Seen]:
        """What clients sent with `marker` in it, in order."""
        with self._changed:
            return [each for each in self.seen if marker in each.data]

    def answers(self, marker: bytes) -> list[Seen]:
        """What clients were sent with `marker` in it, in order."""
        with self._changed:
            return [each for each in self.answered if marker in each.data]

    def close(self) -> None:
        """Ends every connection."""
        self._listener.close()
        self.heal()
        with self._changed:
            links = list(self._links)
        for link in links:
            link.end()

    # --- inside

    def _accept(self) -> None:
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return  # it was closed
            try:
                link = _Link(client, _connect(self._upstream), str(peer[0]))
            except OSError:
                client.close()
                continue
            with self._changed:
                self._links.append(link)
            for side in (self._forward_requests, self._forward_answers):
                threading.Thread(target=self._serve, args=(side, link), daemon=True).start()

    def _serve(self, side: Callable[[_Link], None], link: _Link) -> None:
        try:
            side(link)
        except OSError:
            pass  # one of both has gone; the other one is told by the end
        finally:
            link.end()
            with self._changed:
                link.sides -= 1
                if not link.sides:  # a stack opens thousands in the life of a proxy
                    self._links.remove(link)
                    link.client.close()
                    link.server.close()

    def _forward_requests(self, link: _Link) -> None:
        while data := link.client.recv(_READ):
            self._look_at(link, data)
            self._wait_while_cut(link)
            self._send_slowly(link, data)

    def _send_slowly(self, link: _Link, data: bytes) -> None:
        while (rate := self._rate) is not None and data:
            piece, data = data[:_PIECE], data[_PIECE:]
            link.server.sendall(piece)
            link.ended.wait(len(piece) / rate)
        if data:
            link.server.sendall(data)

    def _forward_answers(self, link: _Link) -> None:
        while data := link.server.recv(_READ):
            self._wait_while_cut(link)
            if link.loss is not None and link.loss.change is not None:
                data = self._change(link, link.loss.change, data)
            elif link.loss is not None:
                self._lose(link, link.loss)
            if link.dropped is None:
                with self._changed:
                    self.answered.append(Seen(time.time(), link.who, data[: self._most], link.peer))
                link.client.sendall(data)
            else:
                link.dropped += data

    def _lose(self, link: _Link, loss: _Loss) -> None:
        link.loss, link.dropped = None, bytearray()
        with self._changed:
            self.dropped.append(link.dropped)
        if not loss.is_silent:
            link.end()

    def _change(self, link: _Link, change: Callable[[bytes], bytes], data: bytes) -> bytes:
        if data.endswith(b"\r\n\r\n"):  # a head that came by itself
            return data
        link.loss, changed = None, change(data)
        if len(changed) < len(data):
            link.client.sendall(changed)
            link.end()
        return changed

    def _look_at(self, link: _Link, data: bytes) -> None:
        named = _CREDENTIAL.search(data)
        link.who = named[1] if named else link.who
        with self._changed:
            link.asked = data[: self._most]
            self.seen.append(Seen(time.time(), link.who, data[: self._most], link.peer))
            loss = next((each for each in self._losses if each.marker in data), None)
            if loss is not None:
                self._losses.remove(loss)
                link.loss = loss

    def _wait_while_cut(self, link: _Link) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_cut(link) or link.ended.is_set())


def postgres_address(url: str) -> Address:
    """Where the server of a PostgreSQL URL listens."""
    parts = urlsplit(url)
    directory = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    return f"{directory}/.s.PGSQL.{port}" if directory.startswith("/") else (parts.hostname or "127.0.0.1", port)


def through(proxy: Proxy, url: str) -> str:
    """A PostgreSQL URL that leads through the proxy."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return f"postgresql://{user}{at}127.0.0.1:{proxy.port}{parts.path}"


def _connect(address: Address) -> socket.socket:
    if isinstance(address, tuple):
        connected = socket.create_connection(address, 5)
        connected.settimeout(None)  # to say nothing for long is no fault
        return connected
    opened = socket.socket(socket.AF_UNIX)
    opened.connect(address)
    return opened
