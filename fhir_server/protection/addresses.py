"""The caller's network address, also behind proxies (https://www.rfc-editor.org/rfc/rfc7239)."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)
_MOST = 20
"""Entries of a header that are looked at, from its end."""


class Addresses:
    """Believes the `header` of what the `proxies` pass on, and of nobody else: everybody can send one.

    Each proxy adds the address that it was called from, so the header is read from its end up to the first that is no proxy of ours.
    """

    def __init__(self, proxies: Sequence[IPv4Network | IPv6Network], header: str) -> None:
        self._proxies, self._header = tuple(proxies), header.lower().encode()

    def of(self, scope: Mapping[str, Any]) -> str:
        """The address of whoever sent this request; "" where there is none (a socket of the file system)."""
        peer: str = scope["client"][0] if scope["client"] else ""
        if not self._proxies or not self._ours(peer):
            return peer
        named = b",".join(value for name, value in scope["headers"] if name == self._header)  # a proxy may add a line of its own
        for entry in reversed(named.decode("latin-1").split(",")[-_MOST:]):
            address = _address(entry if self._header != b"forwarded" else _for(entry))
            if address is None:
                break
            peer = str(address)
            if not self._ours(peer):
                break
        return peer

    def _ours(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._proxies)


def _for(element: str) -> str:
    match = _FOR.search(element)
    return match[1].strip('"') if match else ""


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address of `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]` or `[::1]:80`; None for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def one_caller(text: str) -> str:
    """What is counted as one caller: an IPv4 address, or the /64 that an IPv6 address is in, since whoever has one of it has them all."""
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or text)
