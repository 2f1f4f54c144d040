"""Which addresses the platform speaks to when a user names the host: rules about networks, and nothing resolved here.

What a name resolves to is its owner's to say, and may be this machine or a cloud's metadata service. So addresses are
judged, not names, and those that carry another address inside are judged by that one. Where clouds have such services among
addresses that look like anybody's, they are named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

#: Words of the setting. Everything else is named as a network; so are link-local ones, where metadata services live, and
#: those of `_NO_WORDS`.
WORDS = ("public", "private", "loopback")
_TRANSLATED = IPv6Network("64:ff9b::/96")
#: Where people have services. What else is not global is nobody's.
_PRIVATE = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
#: No word allows these, whatever kind they are of: metadata services, and wrappings that lead elsewhere.
_NO_WORDS = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba Cloud
        "192.0.0.0/24",  # of protocols; Oracle Cloud has 192.0.0.192
        "fd00:ec2::254/128",  # AWS
        "fd20:ce::254/128",  # Google Cloud
        "64:ff9b:1::/48",  # translated by whoever runs the network
        "::/96",  # IPv4 inside, as it was long ago; and nothing
        "fec0::/10",  # a site's own, as it was long ago
    )
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be spoken to."""

    words: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]

    @property
    def told(self) -> str:
        """For users: the words; of the operator's own networks only that there are some."""
        named = [word for word in WORDS if word in self.words] + (["some networks"] if self.networks else [])
        return ", ".join(named) or "nothing"

    def permits(self, text: str) -> bool:
        """Whether an address, as text, may be spoken to; what is no address may not."""
        try:
            address = _innermost(ip_address(text.partition("%")[0]))
        except ValueError:
            return False
        if any(address in network for network in self.networks if network.version == address.version):
            return True
        return _kind(address) in self.words


def read(text: str) -> Allowed:
    """A setting's text: words and networks, separated by commas. `ValueError` for another."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    named = [part for part in parts if part not in WORDS]
    return Allowed(frozenset(parts) & frozenset(WORDS), tuple(ip_network(part) for part in named))


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "loopback"
    if any(address in network for network in _NO_WORDS if network.version == address.version):
        return "none"
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return "private"
    return "public" if address.is_global and not address.is_multicast else "none"


def _innermost(address: Address) -> Address:
    """The address that packets reach in the end, where an IPv6 address is another one's wrapping."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
