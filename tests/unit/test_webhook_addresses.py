"""B15: the guard of webhooks' addresses, whatever is written, beside what `ipaddress` says of where it would lead."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sojourn.control_plane.domain import addresses
from sojourn.control_plane.engine.errors import WebhookInvalid
from sojourn.control_plane.engine.webhooks import check_url

PUBLIC = addresses.read("public")
_V4 = st.ip_addresses(v=4) | st.sampled_from(
    [IPv4Address(text) for text in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1",
                                    "0.0.0.0", "255.255.255.255", "224.0.0.1", "8.8.8.8", "192.88.99.1")]
)  # fmt: skip


def _number(base: str, inner: IPv4Address | IPv6Address, shift: int = 0) -> IPv6Address:
    return IPv6Address(int(IPv6Address(base)) | int(inner) << shift)


#: An address inside of another: mapped, translated (NAT64), 6to4, Teredo's server, and as it was long ago.
_WRAPPED = st.one_of(
    _V4.map(lambda inner: _number("::ffff:0:0", inner)),
    _V4.map(lambda inner: _number("64:ff9b::", inner)),
    _V4.map(lambda inner: _number("2002::", inner, 80)),
    _V4.map(lambda inner: _number("2001::", inner, 64)),
    _V4.map(lambda inner: _number("::", inner)),
)


def leads_to(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Every address that packets may reach by this one, as `ipaddress` sees it."""
    if isinstance(address, IPv4Address):
        return [address]
    found: list[IPv4Address | IPv6Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each]
    found += address.teredo or ()
    if int(address) >> 32 == int(IPv6Address("64:ff9b::")) >> 32:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found or [address]


@settings(max_examples=1_000)
@given(_V4 | st.ip_addresses(v=6) | _WRAPPED)
def test_b15_nothing_but_the_internet_is_public(address: IPv4Address | IPv6Address) -> None:
    if PUBLIC.permits(str(address)):
        assert all(each.is_global and not each.is_multicast for each in leads_to(address)), address


@given(_V4)
def test_b15_all_of_the_internet_is_public_but_for_what_is_named(address: IPv4Address) -> None:
    is_named = any(address in network for network in addresses._NO_WORDS if network.version == 4)
    assert PUBLIC.permits(str(address)) == (address.is_global and not address.is_multicast and not is_named)


_HOSTS = st.one_of(
    (_V4 | st.ip_addresses(v=6)).map(lambda address: f"[{address}]" if address.version == 6 else str(address)),
    st.integers(0, 2**33).map(str),
    st.sampled_from(["127.1", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "[::1]", "[::ffff:7f00:1]", "[::1%eth0]",
                     "localhost", "localhost.", "①②⑦.⓪.⓪.①", "", ".", "a" * 300, "x..y", "127.0.0.1%00", "127.0.0.1\t",
                     "[", "]", "[::1"]),
    st.text(max_size=20),
)  # fmt: skip
_URLS = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "http://",
                "https://",
                "HTTP://",
                "ftp://",
                "gopher://",
                "file://",
                "//",
                "",
                "http:/",
                "http:\\\\",
                " http://",
            ]
        ),
        st.sampled_from(["", "user@", "user:password@", "a@b@", "127.0.0.1\\@", "%40"]),
        _HOSTS,
        st.sampled_from(["", ":80", ":0", ":65536", ":x", ":-1", ":80:80"]),
        st.sampled_from(["", "/", "/hook", "/\r\nX: y", "/ b", "/#f", "?q", "\\", "/%0d%0a", "/é", "/\x00"]),
    ).map("".join),
    st.text(max_size=60),
)


@settings(max_examples=1_000)
@given(_URLS)
@example("http://127.0.0.1%00")
def test_b15_an_address_is_refused_or_leads_where_it_seems_to(url: str) -> None:
    """Of what is taken, nobody reads anything else than the guard: no user, no line, no blank, and no number of ours."""
    try:
        check_url(url, PUBLIC)
    except WebhookInvalid:
        return
    assert url.isascii() and url.isprintable() and not set(url) & {" ", "\\", "#"}
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    assert parts.port is None or 0 <= parts.port <= 65_535
    try:
        address = ip_address(parts.hostname.partition("%")[0])
    except ValueError:
        return  # a name: judged by what it resolves to, when it is connected to
    assert all(each.is_global for each in leads_to(address))


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0", "169.254.169.254"]
)
def test_b15_a_number_is_no_name(host: str) -> None:
    with pytest.raises(WebhookInvalid, match="not allowed"):
        check_url(f"http://{host}/", PUBLIC)
