"""Why AuditEvents stay in the store where others are archived and removed."""

from collections.abc import Mapping

from joserfc.jwk import OKPKey

from fhir_server.auditing.archive import archived
from fhir_server.auditing.reading import readable
from fhir_server.auditing.statements import checkpoints, opened
from resources.instants import instant_text
from resources.store import ResourceStore
from resources.stores.events import is_own


async def staying(store: ResourceStore, keys: Mapping[str, OKPKey], before: int, *, removed: bool) -> list[str]:
    """A sentence for each reason for which events that the store wrote are still there; `removed`: those in archives should be gone.

    For a store whose manifests and checkpoints were found good a moment ago. Raises BadSignature, StoreUnavailable.
    """
    gone = until = checkpoint = 0
    found: list[str] = []
    async for _, manifest in archived(store, keys):
        until, checkpoint = manifest.until, manifest.checkpoint
        if manifest.signed < before:
            gone = until
        elif not found:
            found.append(_not_before(manifest.first, manifest.signed, before))
    async for _, token in checkpoints(store, checkpoint):
        statement = opened(token, keys)
        until = statement.until
        if not found:
            found.append(_not_before(statement.after + 1, statement.made, before))
    if removed and (left := await _count(store, 0, gone)):
        found.insert(0, f"{left:,} that are archived: the newest of all, or committed together with one that stays")
    if await _count(store, until, await store.position()):
        found.append(f"those after position {until}: no checkpoint has signed them yet; a running server makes one soon")
    return found


async def _count(store: ResourceStore, after: int, until: int) -> int:
    spoilt = list[int]()
    parts = readable(store, after, until, lambda position, problem: spoilt.append(position))
    return sum([sum(map(is_own, part)) async for part in parts]) + len(spoilt)


def _not_before(first: int, signed: int, before: int) -> str:
    return f"those from position {first} on: they were signed at {instant_text(signed)}, not before {instant_text(before)}"
