"""Interfaces, addresses and routes, spoken to the kernel directly: a program for it would cost a cold start 10 ms."""

from __future__ import annotations

import errno
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUTE, _NETFILTER = 0, 12
_NEW_LINK, _DELETE_LINK, _GET_LINK, _NEW_ADDRESS, _GET_ADDRESS, _NEW_ROUTE = 16, 17, 18, 20, 22, 24
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCLUSIVE, _CREATE, _REPLACE = 1, 4, 0x300, 0x200, 0x400, 0x100
_UP = 1
_HEADER = struct.Struct("=IHHII")
_UNREACHABLE, _UNICAST = 7, 1
_ON_LINK = 4


class Link:
    """A connection to the kernel's tables of the network namespace that it was opened in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _ROUTE)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Closes it."""
        self._socket.close()

    def add_veth(self, name: str, peer: str, process: int) -> None:
        """A pair of interfaces: one here, its peer in the network namespace of a process.

        Made there at once: to move one takes the kernel 20 ms.
        """
        inside = _interface() + _text(3, peer) + _attribute(19, struct.pack("=I", process))
        data = _attribute(2, _attribute(1, inside))
        body = _interface() + _text(3, name) + _attribute(18, _text(1, "veth") + data)
        self._ask(_NEW_LINK, body, _CREATE | _EXCLUSIVE)

    def delete(self, name: str) -> None:
        """Removes an interface; one that is not there is no error."""
        try:
            self._ask(_DELETE_LINK, _interface() + _text(3, name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def index(self, name: str) -> int:
        """The number of an interface."""
        body = self._ask(_GET_LINK, _interface() + _text(3, name))
        return int(struct.unpack_from("=i", body, 4)[0])

    def up(self, name: str) -> None:
        """Switches an interface on."""
        self._ask(_NEW_LINK, _interface(self.index(name), _UP))

    def address(self, name: str, address: str, prefix: int) -> None:
        """Gives an interface an IPv4 address."""
        packed = socket.inet_aton(address)
        body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, self.index(name))
        self._ask(_NEW_ADDRESS, body + _attribute(2, packed) + _attribute(1, packed), _CREATE | _REPLACE)

    def route(self, network: str, prefix: int, *, via: str, over: str) -> None:
        """Leads an IPv4 network to a neighbour."""
        attributes = _attribute(5, socket.inet_aton(via)) + _attribute(4, struct.pack("=I", self.index(over)))
        self._add_route(network, prefix, _UNICAST, attributes)

    def close_off(self, network: str, prefix: int) -> None:
        """Makes an IPv4 network unreachable, at once and with a clear error."""
        self._add_route(network, prefix, _UNREACHABLE, b"")

    def addresses(self) -> list[str]:
        """Every IPv4 address of this namespace."""
        found = []
        for body in self._dump(_GET_ADDRESS, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)):
            attributes = dict(_attributes(body[8:]))
            packed = attributes.get(2) or attributes.get(1)
            if packed:
                found.append(socket.inet_ntoa(packed))
        return found

    def _add_route(self, network: str, prefix: int, kind: int, attributes: bytes) -> None:
        flags = _ON_LINK if kind == _UNICAST else 0
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, 254, 4, 0, kind, flags)
        destination = _attribute(1, socket.inet_aton(network)) if prefix else b""
        self._ask(_NEW_ROUTE, body + destination + attributes, _CREATE | _REPLACE)

    def _ask(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        _send(self._socket, kind, body, _REQUEST | _ACK | flags)
        return _await(self._socket)

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        _send(self._socket, kind, body, _REQUEST | _DUMP)
        while True:
            data = self._socket.recv(1 << 17)
            while data:
                length, answer, _, _, _ = _HEADER.unpack_from(data)
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    raise OSError(-struct.unpack_from("=i", data, 16)[0], "netlink")
                yield data[16:length]
                data = data[_aligned(length) :]


def has_table(name: str) -> bool:
    """Whether nf_tables has an inet table of that name; `OSError` where there is no nf_tables, or none for us."""
    get_table, inet = (10 << 8) | 1, 1
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER) as opened:
        opened.bind((0, 0))
        _send(opened, get_table, struct.pack("=BBH", inet, 0, 0) + _text(1, name), _REQUEST | _ACK)
        try:
            _await(opened)
        except FileNotFoundError:
            return False
        return True


def _send(opened: socket.socket, kind: int, body: bytes, flags: int) -> None:
    opened.send(_HEADER.pack(16 + len(body), kind, flags, 1, 0) + body)


def _await(opened: socket.socket) -> bytes:
    """Until the request is acknowledged; the body of an answer before that, if there was one."""
    answer = b""
    while True:
        data = opened.recv(1 << 16)
        while data:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _ERROR:
                number = -struct.unpack_from("=i", data, 16)[0]
                if number:
                    raise OSError(number, f"netlink: {os.strerror(number)}")
                return answer
            answer = data[16:length]
            data = data[_aligned(length) :]


def _interface(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (_aligned(length) - length)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
