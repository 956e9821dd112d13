"""The chains of AuditEvents in a store, followed."""

from hashlib import sha256

from contracts.store_harness import collect

from resources.store import Head, ResourceStore
from resources.stores.chain import NOTHING, read_link


async def heads(store: ResourceStore) -> dict[str, Head]:
    """The newest event of each writer. Fails where an event does not follow the one before it."""
    found: dict[str, Head] = {}
    for version in await collect(store.outbox(after=0)):
        if version.type == "AuditEvent":
            link = read_link(version.body or b"")
            assert link is not None and link.position == version.position
            before = found.get(link.writer, Head(link.writer, 0, NOTHING))
            assert (link.number, link.previous) == (before.number + 1, before.hash)
            found[link.writer] = Head(link.writer, link.number, sha256(version.body or b"").hexdigest())
    return found
