"""The keys that a client publishes at its `jwks_uri`, fetched so that nobody can turn this server against its own network, and kept as
long as the answer says (RFC 9111), within bounds."""

import asyncio
import re
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import httpx

from smart_auth.client_keys.addresses import Allowed, checked
from smart_auth.client_keys.jwks import LARGEST, Jwk, UnusableKeys, fitting, read_published

SECONDS = 5.0
"""A fetch takes no longer, from the look-up of the name to the last byte."""
SHORTEST, USUAL, LONGEST = 60, 300, 86_400
"""Seconds for which keys are kept: at least, where the answer does not say, at most."""
FETCHES_A_MINUTE = 10
"""Of one URL, whatever is asked: unknown key ids cannot be used to flood it."""
_MOST_URLS = 1_000
_LONGEST_URL = 2_000
_MINUTE = 60_000_000
_MAX_AGE = re.compile(r"max-age=\"?(\d{1,9})", re.ASCII)

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> the addresses that the name has now."""


class Unreachable(Exception):
    """Why the keys could not be had; a sentence for the log of whoever runs this server, not for the client."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, by the operating system. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def loopback(host: str) -> bool:
    """Whether a host in a URL is this machine, by number or as `localhost`."""
    return ip_address(host).is_loopback if numeric(host) else host == "localhost"


def numeric(host: str) -> bool:
    """Whether it is an address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def check_url(url: str, allowed: Allowed) -> SplitResult:
    """Whether keys may be published there, as far as it can be known without looking the name up: https, or http on this machine where
    this server is itself on http there; an address that stands in the URL must be one that is connected to.

    For what is registered as for each fetch. Raises ValueError with a sentence.
    """
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"jwks_uri is no URL of at most {_LONGEST_URL} characters")
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.fragment or parts.port == 0:
        raise ValueError("jwks_uri must be an absolute URL without user name and fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed.loopback and loopback(parts.hostname)):
        raise ValueError("jwks_uri must begin with https://")
    if numeric(parts.hostname):
        try:
            checked(parts.hostname, [parts.hostname], allowed)
        except ValueError as problem:
            raise ValueError(f"jwks_uri: {problem}") from None
    return parts


@dataclass(slots=True)
class _Kept:
    keys: list[Jwk] = field(default_factory=list)
    until: int = 0
    fetched: deque[int] = field(default_factory=lambda: deque(maxlen=FETCHES_A_MINUTE))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def may_fetch(self, now: int) -> bool:
        return len(self.fetched) < FETCHES_A_MINUTE or now - self.fetched[0] >= _MINUTE


class RemoteKeys:
    """The keys of clients that publish them. One for the process. `clock` gives microseconds, `allowed` is where they may be, `tls`
    checks servers' certificates."""

    def __init__(
        self, clock: Callable[[], int], allowed: Allowed, *, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        self.allowed = allowed
        self._clock, self._resolver, self._tls = clock, resolver, tls
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def find(self, url: str, algorithm: str, kid: str | None, *, wrong: Jwk | None = None) -> Jwk | None:
        """The key at `url` that a signature is checked with; fetched again, once, where none fits what is kept, or where the one that
        fits is `wrong`: it does not verify the signature, so another may have taken its place. Raises Unreachable."""
        kept = self._of(url)
        seen = kept.until
        key = fitting(kept.keys, algorithm, kid)
        if self._clock() < seen and key is not None and key != wrong:
            return key  # whoever has a key that is known need not wait for a fetch that somebody else has brought about
        async with kept.lock:  # one fetch at a time: the others find what it brought
            now = self._clock()
            fresh = now < kept.until
            if not fresh or kept.until == seen:
                if not kept.may_fetch(now):
                    if fresh:
                        return None
                    raise Unreachable("it was asked for too often")
                kept.fetched.append(now)
                kept.keys, seconds = await self._fetch(url)
                kept.until = now + seconds * 1_000_000
            key = fitting(kept.keys, algorithm, kid)
            return key if key != wrong else None

    def _of(self, url: str) -> _Kept:
        kept = self._kept.setdefault(url, _Kept())
        self._kept.move_to_end(url)
        if len(self._kept) > _MOST_URLS:
            self._kept.popitem(last=False)
        return kept

    async def _fetch(self, url: str) -> tuple[list[Jwk], int]:
        try:
            async with asyncio.timeout(SECONDS):
                parts = check_url(url, self.allowed)
                body, cache_control = await self._get(parts)
            return read_published(body), _seconds(cache_control)
        except UnusableKeys as unusable:
            raise Unreachable(str(unusable)) from None
        except (TimeoutError, httpx.TimeoutException):  # both have the same limit: either may be first
            raise Unreachable(f"it did not answer within {SECONDS:.0f} seconds") from None
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as failure:
            raise Unreachable(str(failure) or type(failure).__name__) from None

    async def _get(self, parts: SplitResult) -> tuple[bytes, str]:
        """Body and Cache-Control. It connects to the very address that was checked, so a name that changes meanwhile gains nothing."""
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = checked(host, await self._resolver(host, port), self.allowed)
        url = httpx.URL(parts.geturl()).copy_with(host=address)
        headers = {"Host": parts.netloc, "Accept": "application/json", "Accept-Encoding": "identity"}
        verify = self._tls or _certificates()
        async with (
            httpx.AsyncClient(verify=verify, follow_redirects=False, trust_env=False, timeout=SECONDS) as client,
            client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.status_code != 200:
                raise Unreachable(f"it answers {answer.status_code}; only 200 is taken, and redirects are not followed")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise Unreachable("it answers in a Content-Encoding that was not asked for")
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LARGEST:
                    raise Unreachable(f"it answers more than {LARGEST} bytes")
            return bytes(body), answer.headers.get("cache-control", "")


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def _seconds(cache_control: str) -> int:
    """For how long an answer with this Cache-Control is kept."""
    text = cache_control.lower()
    if "no-store" in text or "no-cache" in text:
        return SHORTEST
    match = _MAX_AGE.search(text)
    return min(max(int(match[1]), SHORTEST), LONGEST) if match else USUAL
