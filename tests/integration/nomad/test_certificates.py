"""Nomad's RPC is for its own server and client: nobody else on the machine is answered."""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sojourn.control_plane.embedded import nomad_certificates
from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.nomad_client import nomad_client, signing_keys

_NOMAD, _TLS = b"\x01", b"\x04"


def test_without_tls_nobody_is_answered(nomad_agent: NomadAgent) -> None:
    with connected(nomad_agent) as plain:
        assert asked(plain, "Status.Leader") == b""


def test_without_a_certificate_nobody_is_answered(nomad_agent: NomadAgent) -> None:
    with connected(nomad_agent) as plain, pytest.raises(ssl.SSLError, match=r"(?i)certificate required"):
        asked(secured(plain, nomad_agent), "Status.Leader")


def test_the_key_of_identities_is_given_to_a_server_alone(nomad_agent: NomadAgent) -> None:
    kid = signing_keys(nomad_client(nomad_agent.access))[0]["kid"]
    with connected(nomad_agent) as plain:
        told = asked(secured(plain, nomad_agent, "client"), "Keyring.Get", KeyID=kid)
        assert b"Permission denied" in told and b"RSAKey" not in told
    with connected(nomad_agent) as plain:
        assert b"RSAKey" in asked(secured(plain, nomad_agent, "server"), "Keyring.Get", KeyID=kid)


def test_certificates_are_kept_private_and_made_anew_in_time(tmp_path: Path) -> None:
    now, directory = datetime(2026, 1, 1, tzinfo=UTC), tmp_path / "tls"

    def made(at: datetime) -> dict[str, bytes]:
        nomad_certificates.tls(directory, "global", "server", at)
        return {file.name: file.read_bytes() for file in directory.iterdir()}

    first = made(now)
    assert set(first) == {"ca.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert made(now + timedelta(days=3000)) == first
    second = made(now + timedelta(days=3600))
    assert not set(second.values()) & set(first.values())
    (directory / "client-key.pem").unlink()
    assert not set(made(now + timedelta(days=3600)).values()) & set(second.values())


def directory_of(agent: NomadAgent) -> Path:
    return agent._directory / "tls"


@contextmanager
def connected(agent: NomadAgent) -> Iterator[socket.socket]:
    assert agent._ports
    with socket.create_connection(("127.0.0.1", agent._ports.rpc), timeout=20) as connection:
        yield connection


def secured(plain: socket.socket, agent: NomadAgent, role: str = "") -> socket.socket:
    """As an agent does it: one byte says that TLS follows."""
    context = ssl.create_default_context(cafile=str(directory_of(agent) / "ca.pem"))
    if role:
        context.load_cert_chain(directory_of(agent) / f"{role}.pem", directory_of(agent) / f"{role}-key.pem")
    plain.sendall(_TLS)
    return context.wrap_socket(plain, server_hostname="server.global.nomad")


def asked(connection: socket.socket, method: str, **told: str) -> bytes:
    """One call's answer, header and body as they come; empty: the connection was closed."""
    connection.sendall(_NOMAD + packed({"ServiceMethod": method, "Seq": 0}) + packed({"Region": "global", **told}))
    got = b""
    try:
        while data := connection.recv(1 << 16):
            got += data
            connection.settimeout(1)  # the connection stays open after an answer
    except TimeoutError:
        assert got, "neither answered nor closed"
    except ConnectionResetError:
        pass
    return got


def packed(told: dict[str, str | int]) -> bytes:
    """As much of MessagePack as a call needs."""

    def one(value: str | int) -> bytes:
        return bytes([value]) if isinstance(value, int) else b"\xda" + len(value).to_bytes(2, "big") + value.encode()

    return bytes([0x80 + len(told)]) + b"".join(one(name) + one(value) for name, value in told.items())
