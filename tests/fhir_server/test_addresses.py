"""Whose address counts when there are proxies in between."""

from ipaddress import ip_network
from typing import Any

import pytest

from fhir_server.protection.addresses import Addresses, one_caller

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "header", "value", "address"),
    [
        ("203.0.113.9", "X-Forwarded-For", "198.51.100.1", "203.0.113.9"),  # who is no proxy is not believed
        ("10.1.1.1", "X-Forwarded-For", "198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "X-Forwarded-For", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # what the caller made up stands further left
        ("10.1.1.1", "X-Forwarded-For", "6.6.6.6, 198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.1.1.1", "X-Forwarded-For", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.1.1.1", "X-Forwarded-For", "198.51.100.1:4711", "198.51.100.1"),
        ("10.1.1.1", "X-Forwarded-For", "nonsense", "10.1.1.1"),
        ("10.1.1.1", "X-Forwarded-For", "198.51.100.1, <script>", "10.1.1.1"),
        ("10.1.1.1", "X-Forwarded-For", "", "10.1.1.1"),
        ("::ffff:10.1.1.1", "X-Forwarded-For", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "X-Forwarded-For", "2001:db8::7", "2001:db8::7"),
        ("10.1.1.1", "Forwarded", "for=6.6.6.6, for=198.51.100.1;proto=https;by=10.1.1.1", "198.51.100.1"),
        ("10.1.1.1", "Forwarded", 'proto=https; For="[2001:db8::7]:4711"', "2001:db8::7"),
        ("10.1.1.1", "Forwarded", "for=unknown", "10.1.1.1"),
        ("10.1.1.1", "Forwarded", "for=_hidden", "10.1.1.1"),
        ("", "X-Forwarded-For", "198.51.100.1", ""),
    ],
)
def test_only_proxies_are_believed(peer: str, header: str, value: str, address: str) -> None:
    """The header counts from its end, as far as the entries are proxies of ours; nobody can name an address for themselves."""
    scope: dict[str, Any] = {"client": (peer, 1) if peer else None, "headers": [(header.lower().encode(), value.encode())]}
    assert Addresses(PROXIES, header).of(scope) == address


def test_the_other_header_does_not_count() -> None:
    """A header that the proxies do not write comes from the caller."""
    headers = [(b"forwarded", b"for=6.6.6.6"), (b"x-forwarded-for", b"198.51.100.1")]
    scope = {"client": ("10.1.1.1", 1), "headers": headers}
    assert Addresses(PROXIES, "X-Forwarded-For").of(scope) == "198.51.100.1"
    assert Addresses((), "X-Forwarded-For").of(scope) == "10.1.1.1"


def test_a_proxy_may_write_a_line_of_its_own() -> None:
    """Of several lines of the header the last one is the nearest proxy's; what the caller sent stands before it."""
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"198.51.100.1")]
    assert Addresses(PROXIES, "X-Forwarded-For").of({"client": ("10.1.1.1", 1), "headers": headers}) == "198.51.100.1"


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_caller_is_one_network(address: str, caller: str) -> None:
    """An IPv6 caller has a whole /64 to send from, so that is what is counted."""
    assert one_caller(address) == caller
