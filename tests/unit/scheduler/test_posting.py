"""A POST to an address that a user named: to no network that is not allowed, followed nowhere, over in time."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.support.receiver import Receiver

from sojourn.control_plane.domain import addresses
from sojourn.control_plane.domain.delivering import Answer
from sojourn.scheduler import posting
from sojourn.scheduler.posting import Poster

LOOPBACK = addresses.read("loopback")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of bytes; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            connection, _ = listening.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join(20)
        assert not thread.is_alive()


def leads_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name has this machine's address; the names that were looked up."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: int, **more: int) -> object:
        asked.append(host)
        return real("127.0.0.1", port, *rest, **more)

    monkeypatch.setattr(posting.socket, "getaddrinfo", look_up)
    return asked


def test_a_body_is_posted(receiver: Receiver) -> None:
    answer = Poster(LOOPBACK).post(f"{receiver.url}/hook?x=1", b"{}", {"X-One": "1", "Content-Type": "application/json"})
    assert answer == Answer(204)
    [got] = receiver.received
    assert (got.path, got.body, got.headers["x-one"]) == ("/hook?x=1", b"{}", "1")
    assert got.headers["host"] == receiver.url.removeprefix("http://")


def test_an_address_that_is_not_allowed_is_not_connected_to(receiver: Receiver) -> None:
    answer = Poster(addresses.read("public,private")).post(receiver.url, b"{}", {})
    assert answer.status is None and "no address that is allowed" in (answer.error or "")
    assert receiver.received == []


def test_a_name_is_judged_by_what_it_resolves_to(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "localhost")
    assert Poster(addresses.read("public,private")).post(url, b"", {}).status is None
    assert Poster(addresses.read("127.0.0.0/8")).post(url, b"", {}) == Answer(204)
    assert receiver.received[0].headers["host"].startswith("localhost:")


def test_the_address_that_was_judged_is_the_one_connected_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose owner changes its address between two look-ups has one look-up only."""
    asked = leads_here(monkeypatch)
    url = receiver.url.replace("127.0.0.1", "changing.example")
    assert Poster(LOOPBACK).post(url, b"", {}) == Answer(204)
    assert asked.count("changing.example") == 1


def test_a_redirection_is_not_followed(receiver: Receiver) -> None:
    receiver.answers, receiver.headers = lambda _: 302, {"Location": f"{receiver.url}/elsewhere"}
    assert Poster(LOOPBACK).post(receiver.url, b"", {}) == Answer(302)
    assert len(receiver.received) == 1


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert Poster(LOOPBACK).post(url, b"", {}) == Answer(error="the connection was refused")


def test_a_name_that_nobody_has() -> None:
    answer = Poster(LOOPBACK).post("http://nobody.invalid/", b"", {})
    assert answer == Answer(error="its host has no address")


def drip(connection: socket.socket) -> None:
    """An answer without end, a byte now and then."""
    gone = threading.Event()
    connection.recv(65_536)
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not gone.wait(0.05):
            connection.sendall(b"x")
    except OSError:
        return


def silence(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


@pytest.mark.parametrize("serve", [drip, silence])
def test_an_answer_that_does_not_come_is_waited_for_so_long_and_no_longer(serve: Callable[[socket.socket], None]) -> None:
    with raw_server(serve) as url:
        assert Poster(LOOPBACK, total=0.5).post(url, b"{}", {}) == Answer(error="it did not answer in time")


def flood(connection: socket.socket) -> None:
    connection.recv(65_536)
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)
    except OSError:
        return


def test_a_body_of_any_size_is_not_read() -> None:
    with raw_server(flood) as url:
        assert Poster(LOOPBACK).post(url, b"{}", {}) == Answer(200)


@pytest.mark.parametrize("text", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 99999 Odd\r\n\r\n"])
def test_what_is_no_answer(text: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(text)

    with raw_server(serve) as url:
        answer = Poster(LOOPBACK).post(url, b"{}", {})
    assert answer.status is None and "cannot be spoken to" in (answer.error or "")


def test_what_speaks_no_tls(receiver: Receiver) -> None:
    answer = Poster(LOOPBACK).post(receiver.url.replace("http:", "https:"), b"{}", {})
    assert answer.status is None and answer.error


# --- over TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of hooks.example that has signed itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin.replace(year=2120))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@contextmanager
def secured(receiver: Receiver, certificate: Path) -> Iterator[int]:
    """The receiver's server, speaking TLS; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = receiver._server
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    yield server.server_address[1]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("hooks.example", Answer(204)), ("other.example", "its certificate is not accepted")],
)
def test_a_certificate_is_held_against_the_name_and_not_the_address(
    receiver: Receiver, certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str, expected: Answer | str
) -> None:
    leads_here(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secured(receiver, certificate) as port:
        answer = Poster(LOOPBACK).post(f"https://{host}:{port}/x", b"{}", {})
    assert answer == expected if isinstance(expected, Answer) else (answer.error or "").startswith(expected)


def test_a_certificate_of_nobody_known_is_not_accepted(
    receiver: Receiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_here(monkeypatch)
    with secured(receiver, certificate) as port:
        answer = Poster(LOOPBACK).post(f"https://hooks.example:{port}/x", b"{}", {})
    assert "certificate" in (answer.error or "") and receiver.received == []
