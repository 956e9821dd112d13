"""What could not be indexed, noted in Elasticsearch for all processes to see: address, position and reason, nothing of the document."""

from typing import Any, NamedTuple

import msgspec

from search.indexes.elastic.connection import Connection

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_MOST = 10_000


class Aside(NamedTuple):
    """A version that the index does not have, and the name of the error that kept it out."""

    type: str
    id: str
    position: int
    reason: str


class Asides:
    """The list, in the feed's own index."""

    def __init__(self, connection: Connection, index: str) -> None:
        self._connection, self._index = connection, index

    async def add(self, aside: Aside) -> None:
        """Note it; a later one of the same resource takes its place."""
        path = f"/{self._index}/_doc/aside-{aside.type}-{aside.id}"
        await self._connection.call("PUT", path, _encode(aside._asdict()))

    async def remove(self, type: str, id: str) -> None:
        """It has been indexed after all, or is gone."""
        body = _encode({"delete": {"_index": self._index, "_id": f"aside-{type}-{id}"}}) + b"\n"
        await self._connection.call("POST", "/_bulk", body, lines=True)

    async def all(self) -> list[Aside]:
        """All that are noted, in the order of the store; at most 10,000."""
        await self._connection.call("POST", f"/{self._index}/_refresh", params={"ignore_unavailable": "true"})
        body: dict[str, Any] = {"size": _MOST, "query": {"exists": {"field": "reason"}}, "sort": [{"position": "asc"}]}
        params = {"filter_path": "hits.hits._source", "ignore_unavailable": "true"}
        answer = _decode(await self._connection.call("POST", f"/{self._index}/_search", _encode(body), params=params))
        return [Aside(**hit["_source"]) for hit in answer.get("hits", {}).get("hits", [])]
