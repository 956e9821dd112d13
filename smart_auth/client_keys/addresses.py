"""Which network addresses this server connects to on behalf of somebody else: only those of the public Internet, unless it is allowed.

Without this, whoever registers a `jwks_uri` could have the server ask its own neighbours (server-side request forgery).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")
_NEVER = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4", "255.255.255.255/32",
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "fec0::/10",
    )
)  # fmt: skip
"""What `is_global` of one or another Python release lets through though no public server is there."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be connected to beside the public Internet: hosts by name, networks, and this machine itself (`loopback`)."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    loopback: bool = False

    @classmethod
    def read(cls, text: str, *, loopback: bool = False) -> Self:
        """Of names and networks separated by blanks (`keys.clinic.internal 10.1.0.0/16`). Raises ValueError, naming the wrong one."""
        names, networks = [], []
        for part in text.split():
            if part[0].isdigit() or ":" in part:
                networks.append(ip_network(part))
            else:
                names.append(part.lower())
        return cls(frozenset(names), tuple(networks), loopback)

    def may_connect(self, host: str, address: Address) -> bool:
        """Whether this server may connect to `address`, which the name `host` was resolved to."""
        if host.lower() in self.names:
            return True
        inner = _inner(address)
        if any(inner.version == network.version and inner in network for network in self.networks):
            return True
        return public(inner) or (self.loopback and inner.is_loopback)


def public(address: Address) -> bool:
    """Whether it is an address of the public Internet: neither private, loopback, link-local (where clouds keep their metadata),
    multicast nor reserved, nor an IPv6 address that stands for such an IPv4 address."""
    inner = _inner(address)
    never = any(inner.version == network.version and inner in network for network in _NEVER)
    return inner.is_global and not inner.is_multicast and not never


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to, else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def checked(host: str, addresses: Sequence[str], allowed: Allowed) -> str:
    """The address to connect to. Raises ValueError where there is none, or where any of them is not allowed."""
    read = [ip_address(each.partition("%")[0]) for each in addresses]
    if not read:
        raise ValueError("its name has no address")
    if not all(allowed.may_connect(host, each) for each in read):
        raise ValueError("its address is not one of the public Internet, and FHIR_JWKS_URI_ALLOW does not name it")
    return str(read[0])
