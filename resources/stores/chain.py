"""The hash chain of the AuditEvents that one opening of a store writes (docs/adr/0018): each names the SHA-256 of the one before it.

An event carries its link as an extension: the writer (a random name for each opening of a store), its number among the writer's events,
and the SHA-256 of the exact bytes of the writer's event before it. So no event can be changed, removed, inserted or moved unseen, but for a
writer's last ones, which signed checkpoints cover (`fhir_server/auditing`).
"""

import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from resources.instants import instant_text
from resources.store import Head

LINK = "urn:fhir-server:audit-link"
"""The extension of an AuditEvent that holds its link: `WRITER/NUMBER/SHA-256`."""

NOTHING = "0" * 64
"""In place of a hash: a writer's first event follows nothing."""

OPENING = b'{"resourceType":"AuditEvent",'
_META = b'"meta":{'
_STAMPED = (
    OPENING + b'"id":"event-%d","extension":[{"url":"' + LINK.encode() + b'","valueString":"%b/%d/%b"}],'
    b'"meta":{"versionId":"1","lastUpdated":"%b"'
)
_READ = re.compile(
    re.escape(OPENING)
    + rb'"id":"event-(\d{1,15})","extension":\[\{"url":"'
    + re.escape(LINK.encode())
    + rb'","valueString":"([0-9a-f]{16})/(\d{1,15})/([0-9a-f]{64})"\}\],"meta":\{"versionId":"1","lastUpdated":"([^"]{1,40})"'
)


class Link(NamedTuple):
    """What an event says of itself: position, writer, number, hash of the writer's event before it, instant as it is written."""

    position: int
    writer: str
    number: int
    previous: str
    instant: str


class Chain:
    """One writer's chain. `head` is its newest event that was committed."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew under another name: for when nobody knows whether the newest events were kept."""
        self.head = Head(secrets.token_hex(8), 0, NOTHING)

    def links(self) -> "Links":
        """The links for a group of commits, after what was committed so far."""
        return Links(self)


class Links:
    """The links of one group of commits. They count once it is committed (`keep`); dropped, it is as if they had never been."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._head = chain, chain.head

    def stamp(self, events: Sequence[bytes], first: int, instant: int) -> bytes:
        """The events as documents, one a line, numbered from position `first`. Raises ValueError for what is no event."""
        writer, number, before = self._head
        text, name, out = instant_text(instant).encode(), writer.encode(), []
        for position, event in enumerate(events, first):
            if not event.startswith(OPENING):
                raise ValueError('an event begins with {"resourceType":"AuditEvent",')
            number += 1
            rest = event[len(OPENING) :]
            # a profile that it claims stands first
            rest = b"," + rest[len(_META) :] if rest.startswith(_META) else b"}," + rest
            document = _STAMPED % (position, name, number, before.encode(), text) + rest
            before = sha256(document).hexdigest()
            out.append(document)
        self._head = Head(writer, number, before)
        return b"\n".join(out)

    def keep(self) -> None:
        """They are committed: what comes next follows them."""
        self._chain.head = self._head


def read_link(body: bytes) -> Link | None:
    """The link of an event's bytes; None where they have none (written before there were any, or not by a store)."""
    found = _READ.match(body)
    if found is None:
        return None
    position, writer, number, previous, instant = found.groups()
    return Link(int(position), writer.decode(), int(number), previous.decode(), instant.decode())
