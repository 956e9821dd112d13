"""Single documents as they were at the snapshot of an export."""

from collections.abc import AsyncGenerator, Sequence

from resources.store import Key, ResourceStore, Version

_FIRST, _MOST = 50, 500
_BYTES = 8 * 1024 * 1024


async def at_position(store: ResourceStore, keys: Sequence[Key], position: int) -> list[Version]:
    """The live versions of these documents as of a position, in the order of the keys."""
    found = []
    for key, current in zip(keys, await store.read_many(keys) if keys else (), strict=True):
        newer = current is None or current.position > position
        version = await before(store, key, position) if newer else current
        if version is not None and version.body is not None:
            found.append(version)
    return found


async def in_pieces(store: ResourceStore, keys: Sequence[Key], position: int) -> AsyncGenerator[list[Version], None]:
    """The same, some at a time: fewer where those of the type before them were large."""
    start, count, type = 0, _FIRST, ""
    while start < len(keys):
        if keys[start].type != type:
            count, type = _FIRST, keys[start].type
        end = min(start + count, len(keys))
        while end > start + _FIRST and keys[end - 1].type != type:
            end -= 1
        versions = await at_position(store, keys[start:end], position)
        yield versions
        size = sum(len(each.body) for each in versions if each.body is not None)
        count = max(1, min(_MOST, 2 * count, _BYTES * (end - start) // max(size, 1)))
        start = end


async def before(store: ResourceStore, key: Key, position: int) -> Version | None:
    """The version (a deletion too) that was current at a position."""
    page = await store.history(key.type, key.id, before=position + 1, limit=1)
    return page.versions[0] if page.versions else None
