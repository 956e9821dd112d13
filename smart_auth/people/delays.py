"""Guessing slowed down: failures are counted, and after a few of them each next try has to wait, twice as long every time.

Counted are the tries against one name and the tries from one address, before they are checked, so that many at once gain nothing. A browser
in which the user has signed in before (a sealed cookie says so) has a counter of its own: whoever guesses at a name elsewhere cannot
keep its owner out. Names that nobody has are counted alike.
"""

import asyncio
import secrets
import time
from base64 import urlsafe_b64decode
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.errors import OAuthError
from smart_auth.people.browser import DEVICE, cookie, cookie_of, sealed_text
from smart_auth.sealing import WrongSecret
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.web import Cookie, WebRequest

KIND: Final = "failures"
FREE: Final = 3
"""Failures against one name (or in one known browser) before tries have to wait."""
FREE_ADDRESS: Final = 100
"""Failures from one address: a whole clinic may have one. They are forgotten one by one, each FADING_ADDRESS microseconds."""
FADING_ADDRESS: Final = 60_000_000
LONGEST: Final = 900
"""Seconds of the longest wait."""
_FORGOTTEN = 3_600_000_000
"""Microseconds after the end of the last wait when failures no longer count."""
_DEVICE_DAYS = 180
_MAILED = "mail-"
"""Before the id of a device that is known by a link of its user's mail."""
_TRIES = 20
_PATIENCE = 3.0
"""Seconds for which a try is held where each wait is a short one."""


class _Failures(msgspec.Struct, frozen=True):
    """How many, the instant until which to wait, and that of the last one (microseconds)."""

    count: int
    until: int
    last: int

    def faded(self, now: int, fading: int) -> int:
        """How many still count, where one is forgotten each `fading` microseconds (0: none)."""
        return max(0, self.count - (now - self.last) // fading) if fading else self.count


class _Counter(msgspec.Struct, frozen=True):
    """Under which key, how many failures are free, and how they fade."""

    key: str
    free: int
    fading: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """A try that was counted. `cleared` are the changes to commit where it succeeds; `at_address`: it counts against the address too."""

    cleared: tuple[RecordChange, ...]
    at_address: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Failures).decode


def device_cookie(service: Service, name: str, *, by_mail: bool = False) -> Cookie:
    """What makes the browser known as one in which this user has signed in; `by_mail`: has followed a link of the user's mail, which says
    nothing for more than the password."""
    until = service.clock() // 1_000_000 + _DEVICE_DAYS * 86_400
    id = f"{_MAILED if by_mail else ''}{secrets.token_hex(8)}"
    return cookie(service, DEVICE, sealed_text(service, f"{until} {id} {name}", "device"), _DEVICE_DAYS * 86_400)


def known_device(service: Service, request: WebRequest, name: str) -> str:
    """What this browser is called if the user has signed in with it before, else ""."""
    sent = cookie_of(service, request, DEVICE)
    if not 0 < len(sent) <= 1_024:
        return ""
    try:
        text = service.sealer.open(urlsafe_b64decode(sent + "=" * (-len(sent) % 4)), "device").decode()
    except (WrongSecret, ValueError):
        return ""
    until, id, owner = text.split(" ", 2)
    return id if owner == name and int(until) * 1_000_000 > service.clock() else ""


async def attempt(service: Service, request: WebRequest, what: str, name: str) -> Attempt:
    """Count a try at `what` (`password`, `code`) against the name ("" for one that cannot be anybody's). Raises OAuthError 429 with
    Retry-After where it has to wait; such a try does not count.

    A second is waited here: it may be that other tries, which are being looked at, are right (somebody signs in with several browsers at
    once), and then nobody has to wait."""
    device = known_device(service, request, name)
    if what != "password" and device.startswith(_MAILED):  # or every link would bring new tries at the second factor
        device = ""
    counters = [_Counter(digest(f"{what}\0{name}\0{device}"), FREE)]
    if not device:
        counters.append(_Counter(_place(request), FREE_ADDRESS, FADING_ADDRESS))
    patience = time.monotonic() + _PATIENCE
    while (until := await _counted(service, counters)) is not None:
        if until - service.clock() > 1_000_000 or time.monotonic() > patience:
            raise _wait(service, until)
        await asyncio.sleep(0.05)
    return Attempt((RecordChange(KIND, counters[0].key, None),), not device)


def unlocked(name: str) -> tuple[RecordChange, ...]:
    """What to commit so that tries against the name need not wait any more, wherever they come from: the operator has seen to it."""
    return tuple(RecordChange(KIND, digest(f"{what}\0{name}\0"), None) for what in ("password", "code"))


async def forgive(service: Service, request: WebRequest, tried: Attempt) -> None:
    """Take back one count of the address: the try succeeded. (Taking back all would let a guesser sign in as somebody between guesses.)"""
    if not tried.at_address:
        return None
    key = _place(request)
    for _ in range(_TRIES):
        record = await service.store.record(KIND, key)
        if record is None:
            return None
        failures = _decode(record.value)
        if failures.count <= 1:
            change = RecordChange(KIND, key, None, record.revision)
        else:
            change = RecordChange(
                KIND, key, _encode(_Failures(failures.count - 1, 0, failures.last)), record.revision, (), record.expires
            )
        with suppress(Conflict):
            return await service.commit(change)
    return None


async def _counted(service: Service, counters: list[_Counter]) -> int | None:
    """One more failure for each counter, exactly once however many come at a time, or for none of them: then the instant until which to
    wait (microseconds)."""
    for _ in range(_TRIES):
        changes = []
        for counter in counters:
            now, record = service.clock(), await service.store.record(KIND, counter.key)
            failures = _decode(record.value) if record is not None else _Failures(0, 0, now)
            if failures.until > now:
                return failures.until
            changes.append(_one_more(counter, failures, now, record.revision if record is not None else ABSENT))
        with suppress(Conflict):
            await service.commit(*changes)
            return None
    return service.clock() + 1_000_000


def _one_more(counter: _Counter, failures: _Failures, now: int, revision: int) -> RecordChange:
    count = failures.faded(now, counter.fading) + 1
    until = now + min(2 ** min(count - counter.free, 20), LONGEST) * 1_000_000 if count >= counter.free else now
    expires = until + max(_FORGOTTEN, count * counter.fading)
    return RecordChange(KIND, counter.key, _encode(_Failures(count, until, now)), revision, (), expires)


def _place(request: WebRequest) -> str:
    """The counter of the caller's address. One customer has a whole /64 of IPv6."""
    try:
        address = ip_address(request.address.partition("%")[0])
    except ValueError:
        return digest(f"address\0{request.address}")
    return digest(f"address\0{ip_network((address, 64), strict=False) if address.version == 6 else address}")


def _wait(service: Service, until: int) -> OAuthError:
    seconds = max(1, -(-(until - service.clock()) // 1_000_000))
    return OAuthError("slow_down", "There were too many tries. Try again later.", 429, {"Retry-After": str(seconds)})
