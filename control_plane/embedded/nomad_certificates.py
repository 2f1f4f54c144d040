"""Certificates of the private Nomad's RPC. Without them its server answers any process of the machine as it would a server.

What servers ask each other needs no token: the keys that identities are signed by are had that way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sojourn.control_plane.embedded.credentials import write_private

_CA = "ca.pem"
#: What each presents itself as; Nomad goes by these names.
_ROLES = ("server", "client")
_GOOD_FOR, _RENEWED_BEFORE = timedelta(days=3650), timedelta(days=90)
#: A clock that is set back a little must not keep Nomad from starting.
_SINCE = timedelta(days=1)


def tls(directory: Path, region: str, role: str, now: datetime | None = None) -> dict[str, object]:
    """The block `tls` for `role`, server or client. `directory` is absolute; what is not in it yet is made.

    All are made at once, by an authority whose key is not kept: nobody else will ever be given one.
    """
    moment = now or datetime.now(UTC)
    if not _are_good(directory, moment):
        _make(directory, region, moment)
    return {
        "http": False,
        "rpc": True,
        "verify_server_hostname": True,
        "ca_file": str(directory / _CA),
        "cert_file": str(directory / f"{role}.pem"),
        "key_file": str(directory / f"{role}-key.pem"),
    }


def _are_good(directory: Path, now: datetime) -> bool:
    """The authority's certificate is written last, and so says that all are there."""
    try:
        known = x509.load_pem_x509_certificate((directory / _CA).read_bytes())
    except (OSError, ValueError):
        return False
    files = (directory / f"{role}{end}" for role in _ROLES for end in (".pem", "-key.pem"))
    return known.not_valid_after_utc - _RENEWED_BEFORE > now and all(each.exists() for each in files)


def _make(directory: Path, region: str, now: datetime) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(directory, 0o700)
    (directory / _CA).unlink(missing_ok=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("Sojourn's private Nomad")
    for role in _ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        called = f"{role}.{region}.nomad"
        leaf = _unsigned(_name(called), issuer, key.public_key(), now)
        certificate = _for_both_ends(leaf, called).sign(authority, hashes.SHA256())
        write_private(directory / f"{role}-key.pem", _pem_of_key(key))
        write_private(directory / f"{role}.pem", _pem(certificate))
    basic = x509.BasicConstraints(ca=True, path_length=0)
    top = _unsigned(issuer, issuer, authority.public_key(), now).add_extension(basic, critical=True)
    write_private(
        directory / _CA, _pem(top.add_extension(_usage(signs_others=True), critical=True).sign(authority, hashes.SHA256()))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SINCE)
        .not_valid_after(now + _GOOD_FOR)
    )


def _for_both_ends(builder: x509.CertificateBuilder, called: str) -> x509.CertificateBuilder:
    """Nomad's agents both call and are called."""
    names: Sequence[x509.GeneralName] = (
        x509.DNSName(called),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
    )
    ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_others=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(ends), critical=False)
    )


def _usage(*, signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others, key_cert_sign=signs_others, crl_sign=signs_others, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*kinds).decode()
