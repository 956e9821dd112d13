"""AuditEvents that a store writes itself: how they are known and packed. `resources.stores.chain` numbers and dates them.

A commit's events come without `id`; the store gives each its position as id (`event-123`) and keeps the events of a commit
group together, since they are written once, never changed, and mostly read in order.
"""

from collections.abc import Iterator, Sequence

from resources.store import Version
from resources.stores.participant import Applied

TYPE = "AuditEvent"
ROW = 1 << 48
"""Row numbers of events begin here: row = ROW + position."""

PORTION = 128 * 1024
"""Bytes of events that are packed together, about: whoever wants one of them unpacks all."""

_ID = "event-"


def unpack(lines: bytes, first: int, instant: int) -> Iterator[Version]:
    """The events of a packed group as versions, in order."""
    for number, body in enumerate(lines.split(b"\n"), first):
        yield version(number, instant, body)


def version(position: int, instant: int, body: bytes) -> Version:
    """The event at a position as the only version of its document."""
    return Version(TYPE, f"{_ID}{position}", 1, instant, "POST", body, position)


def position_of(type: str, id: str) -> int | None:
    """The position that an event's id names, or None if this is not the id of an event."""
    digits = id[len(_ID) :]
    if type == TYPE and id.startswith(_ID) and digits.isascii() and digits.isdigit() and len(digits) < 16 and digits[0] != "0":
        return int(digits)
    return None


def is_own(version: Version) -> bool:
    """Whether a store wrote this AuditEvent itself. One that a client put is a document like any other, whatever its id looks like: nobody
    can post one under an id of its own."""
    return version.method == "POST" and position_of(version.type, version.id) == version.position


def forgotten(event: Version) -> Applied:
    """What a participant is told of an event that is removed."""
    return Applied(ROW + event.position, event.type, event.id, event.instant, None, created=False, new=False, live=False)


def portions(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The events of a group of commits as they are packed: together, unless those of an export that is about thousands are among them."""
    start = size = 0
    for number, line in enumerate(lines):
        if size and size + len(line) > PORTION:
            yield lines[start:number]
            start, size = number, 0
        size += len(line)
    if size:
        yield lines[start:]


def groups(found: Sequence[Version]) -> Iterator[list[Version]]:
    """Events, in order, as the runs that can be packed together: positions without a gap, one instant."""
    run: list[Version] = []
    for event in found:
        if run and (event.position != run[-1].position + 1 or event.instant != run[-1].instant):
            yield run
            run = []
        run.append(event)
    if run:
        yield run
