"""HTTP as servers and proxies speak it, over real sockets."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sojourn.executor_shim.connection import ANSWER, Connection
from sojourn.executor_shim.events import Events

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers each connection's requests by these bytes in turn, then closes it; its address."""
    listeners: list[socket.socket] = []

    def start(*answers: bytes, context: ssl.SSLContext | None = None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=answer_all, args=(listener, answers, context), daemon=True).start()
        return f"{'https' if context else 'http'}://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def answer_all(listener: socket.socket, answers: tuple[bytes, ...], context: ssl.SSLContext | None) -> None:
    while True:
        try:
            accepted, _ = listener.accept()
            connection = context.wrap_socket(accepted, server_side=True) if context else accepted
            for answer in answers:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(65536)
                for place in range(0, len(answer), 7):  # in small pieces
                    connection.sendall(answer[place : place + 7])
            connection.close()
        except ssl.SSLError:
            continue
        except OSError:
            return


def ask(connection: Connection, timeout: float = 60) -> tuple[int, bytes]:
    return connection.exchange("POST", "/x", b"", timeout)


def test_answers_of_known_length_and_in_chunks(serve: Serve) -> None:
    plain = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\nX: y\r\n\r\nhello"
    chunked = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n11\r\n, and some more !\r\n0\r\n\r\n"
    connection = Connection(serve(plain, chunked, plain), "c")
    assert [ask(connection) for _ in range(3)] == [
        (200, b"hello"),
        (404, b"hello, and some more !"),
        (200, b"hello"),
    ]


def test_a_connection_that_was_closed_is_opened_again(serve: Serve) -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    connection = Connection(serve(closing) + "/prefix/", "c")
    assert [ask(connection) for _ in range(2)] == [(200, b"")] * 2
    silent = Connection(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "c")
    assert ask(silent) == (200, b"")
    with pytest.raises(OSError):
        ask(silent)
    assert ask(silent) == (200, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_what_is_no_answer_is_an_error(serve: Serve, answer: bytes) -> None:
    with pytest.raises(OSError):
        ask(Connection(serve(answer), "c"))


def test_nobody_and_silence_are_errors(serve: Serve) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError):
            ask(Connection(address, "c"))
        nobody.listen()
        with pytest.raises(TimeoutError):
            ask(Connection(address, "c"), 0.1)


def test_events_are_taken_while_an_answer_is_awaited(serve: Serve) -> None:
    events, seen = Events(), []
    left, right = socket.socketpair()
    events.add(left.fileno(), "other")

    def on_event(name: str) -> None:
        seen.append(name)
        if name == "other":
            left.recv(10)
            raise KeyboardInterrupt

    address = socket.create_server(("127.0.0.1", 0))
    connection = Connection(f"http://127.0.0.1:{address.getsockname()[1]}", "c", events, on_event)
    right.send(b"!")
    with pytest.raises(KeyboardInterrupt):
        ask(connection)
    assert seen == ["other"] and ANSWER not in events.wait(0)
    for each in (left, right, address):
        each.close()


def certificate(directory: Path) -> Path:
    """A certificate of 127.0.0.1 with its key, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


def test_tls_is_spoken_with_those_who_are_trusted(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    body = b"x" * 300_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(Connection(serve(answer, context=context), "c"))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    for events in (None, Events()):
        connection = Connection(serve(answer, answer, context=context), "c", events)
        assert [ask(connection) for _ in range(2)] == [(200, body)] * 2
