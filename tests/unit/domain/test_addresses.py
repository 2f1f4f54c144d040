"""Which addresses may be spoken to: by what they are, whatever they are wrapped in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain import addresses

DEFAULT = addresses.read("public,private")
NEVER = (
    "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "224.0.0.1", "ff02::1",
    "255.255.255.255", "240.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::", "", "localhost", "1", "0x7f.1",
    # metadata services outside of link-local networks, and wrappings of old
    "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.0.9",
    "::ffff:168.63.129.16", "::ffff:100.100.100.200", "64:ff9b::a83f:8110", "2002:a83f:8110::", "64:ff9b:1::101:101",
    "::1.1.1.1", "::10.0.0.1", "fec0::1",
)  # fmt: skip


@pytest.mark.parametrize("text", NEVER)
def test_what_is_never_spoken_to_unless_it_is_named(text: str) -> None:
    assert not DEFAULT.permits(text)


@pytest.mark.parametrize("text", ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "64:ff9b::a01:203"])
def test_private_networks_are_a_word_of_their_own(text: str) -> None:
    assert DEFAULT.permits(text)
    assert not addresses.read("public").permits(text)


@pytest.mark.parametrize("text", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses(text: str) -> None:
    assert DEFAULT.permits(text)
    assert not addresses.read("private").permits(text)


def test_networks_are_allowed_by_name() -> None:
    allowed = addresses.read("169.254.1.0/24, fe80::/64,loopback")
    assert all(allowed.permits(text) for text in ("169.254.1.9", "fe80::2", "127.0.0.1", "::1", "::ffff:169.254.1.9"))
    assert not any(allowed.permits(text) for text in ("169.254.169.254", "1.1.1.1", "10.0.0.1"))


@pytest.mark.parametrize("text", ["fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "64:ff9b:1::1"])
def test_metadata_services_are_allowed_by_number_alone(text: str) -> None:
    assert not addresses.read("public,private,loopback").permits(text)
    assert addresses.read(f"public,{text}").permits(text)


@pytest.mark.parametrize("text", ["link-local", "10.0.0.1/8", "example.com", "public,x"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits"):
        addresses.read(text)


@given(st.ip_addresses(v=4))
def test_a_wrapping_changes_nothing(address: IPv4Address) -> None:
    wrapped = (f"::ffff:{address}", str(IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))))
    assert {DEFAULT.permits(text) for text in wrapped} == {DEFAULT.permits(str(address))}


def test_what_is_allowed_in_words() -> None:
    assert addresses.read("private,public").told == "public, private"
    assert addresses.read("loopback,10.1.0.0/16").told == "loopback, some networks"
    assert addresses.read("").told == "nothing"
