"""The bases for which documents were indexed, kept in the `_meta` of the feed's own index."""

from collections.abc import Sequence

import msgspec

from search.indexes.bases import Kept, noted, warning
from search.indexes.elastic.connection import Connection

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class NotedBases:
    """What the feeders of one layout note of them; `bases`: the URLs that mean this server. Raises StoreUnavailable and Refused."""

    def __init__(self, connection: Connection, feed: str, bases: Sequence[str]) -> None:
        self._connection, self._path, self._bases = connection, f"/{feed}/_mapping", bases

    async def remember(self, *, anew: bool = False) -> str | None:
        """Note that documents are indexed from now on with these URLs as the server's own; `anew`: all of them are. Returns what to
        say to those who run the server where others were indexed otherwise."""
        before = await self._kept()
        after = noted([] if anew else before, self._bases)
        if after != before:
            await self._connection.call("PUT", self._path, _encode({"_meta": {"bases": after}}))
        return warning(after, self._bases)

    async def _kept(self) -> Kept:
        answer = _decode(await self._connection.call("GET", self._path, params={"filter_path": "*.mappings._meta"}))
        found: Kept = next((entry["mappings"]["_meta"].get("bases", []) for entry in answer.values()), [])
        return found
