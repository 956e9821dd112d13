"""The indices themselves: made, put behind their aliases, refreshed, listed, deleted."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec

from search.indexes.elastic.connection import Connection, Refused
from search.indexes.elastic.layout import NEEDED, Layout
from search.parameter import SearchParameter

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_MAKING = 60.0
"""Seconds that Elasticsearch may take to make an index or a refresh while it is busy."""


@dataclass(frozen=True, slots=True)
class State:
    """What there is of a type: the index that searches use, and the one that the feed writes to (None: none)."""

    live: str | None = None
    fed: str | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """How far an index has been filled from the store: everything up to position `scanned` of a snapshot at `until`.

    `added`: the same for each parameter that was added to the type (`SearchParameter.stored`), with whose values the documents that
    there were before have to be written anew.
    """

    until: int = 0
    scanned: int = 0
    complete: bool = False
    added: Mapping[str, "Scan"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Begun:
    """An index that is being filled from a snapshot at position `until`, beside the one that is searched."""

    type: str
    index: str
    until: int


class Indices:
    """The indices of one layout. All methods may raise StoreUnavailable."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection, self.layout = connection, layout
        self._noting = asyncio.Lock()

    async def _put(self, path: str, body: Mapping[str, Any]) -> None:
        await self._connection.call("PUT", path, _encode(body), within=_MAKING)

    async def install(self) -> None:
        """The index template and the feed's own index, where they are not there yet."""
        await self._put(f"/_index_template/{self.layout.prefix}", self.layout.template())
        await self._made(self.layout.feed, {"mappings": self.layout.feed_mapping()})

    async def _made(self, name: str, body: Mapping[str, Any]) -> None:
        try:
            await self._put(f"/{name}", body)
        except Refused as refusal:
            if "resource_already_exists_exception" not in refusal.kind:
                raise

    async def states(self) -> dict[str, State]:
        """The state of each type that has any index behind an alias."""
        answer = _decode(await self._connection.call("GET", f"/{self.layout.root}-*/_alias", params={"expand_wildcards": "open"}))
        found: dict[str, State] = {}
        for index, entry in answer.items():
            for alias in entry["aliases"]:
                type = self.layout.type_of(alias)
                if type is None:
                    continue
                before = found.get(type, State())
                fed = alias.endswith(".in")
                found[type] = State(before.live if fed else index, index if fed else before.fed)
        return found

    async def create(self, type: str, *, until: int = 0, added: Sequence[SearchParameter] = ()) -> str:
        """A new, empty index of the type, neither fed nor searched, once it is ready to be written to. Returns its name.

        `until`: it is noted that the index is to be filled from a snapshot at this position, beside a live one. Without it, it is the
        only one, and its name is always the same: of two processes that make it at the same time, or one that makes it again because the
        answer was late, all get the same one, and the feed never has two to write to. `added`: the parameters that were added to
        the type and whose values every document brings that is written to the index.
        """
        name = f"{self.layout.alias(type)}-{secrets.token_hex(4) if until else 'first'}"
        mapping = self.layout.mapping(type)
        mapping["properties"]["c"] = {**mapping["properties"]["c"], "properties": self.layout.added(added)}
        scan = Scan(until, added={parameter.stored: Scan(complete=True) for parameter in added})
        await self._made(name, {"settings": NEEDED, "mappings": {**mapping, "_meta": asdict(scan)}})
        return name

    async def feed_into(self, type: str, index: str) -> None:
        """From now on the feed writes documents of the type to the index."""
        await self._put(f"/{index}/_alias/{self.layout.entrance(type)}", {})

    async def unfinished(self) -> list[Begun]:
        """The indices that rebuilds began to fill from a snapshot and did not bring to their end."""
        path = f"/{self.layout.root}-*"
        answer = _decode(await self._connection.call("GET", path, params={"filter_path": "*.aliases,*.mappings._meta"}))
        found = []
        for name, entry in sorted(answer.items()):
            type, until = self.layout.type_of(name.rpartition("-")[0]), _scan(entry).until
            if type is not None and not entry.get("aliases") and until:
                found.append(Begun(type, name, until))
        return found

    async def expose(self, made: Mapping[str, str]) -> None:
        """Searches and feed use these indices (by type) from now on, and whatever they used before is deleted: all in one step.

        The feed writes to them even where somebody late puts another index behind the same entrance.
        """
        states = await self.states()
        actions: list[dict[str, Any]] = []
        for type, index in made.items():
            state = states.get(type, State())
            actions += [{"remove_index": {"index": name}} for name in {state.live, state.fed} - {None, index}]
            actions += [{"add": {"index": index, "alias": self.layout.alias(type)}}]
            actions += [{"add": {"index": index, "alias": self.layout.entrance(type), "is_write_index": True}}]
        await self._connection.call("POST", "/_aliases", _encode({"actions": actions}), within=_MAKING)

    async def note(self, index: str, scan: Scan) -> None:
        """Keep in the index how far it has been filled. What it notes of added parameters stays."""
        async with self._noting:
            kept = (await self.noted(index)).added
            await self._put(f"/{index}/_mapping", {"_meta": asdict(replace(scan, added=kept))})

    async def noted(self, index: str) -> Scan:
        """How far the index has been filled."""
        return (await self.all_noted(index)).get(index, Scan())

    async def all_noted(self, names: str) -> dict[str, Scan]:
        """The same of all indices that a name, an alias or a pattern stands for, whatever they are used for."""
        params = {"filter_path": "*.mappings._meta", "ignore_unavailable": "true"}
        answer = _decode(await self._connection.call("GET", f"/{names}/_mapping", params=params))
        return {name: _scan(entry) for name, entry in answer.items()}

    async def note_added(self, index: str, added: Mapping[str, Scan], parameters: Sequence[SearchParameter] = ()) -> None:
        """Keep in the index how far it has these parameters, and no others that were added. `parameters`: those of which it has to
        learn."""
        async with self._noting:
            scan = replace(await self.noted(index), added=added)
            known = {"properties": {"c": {"properties": self.layout.added(parameters)}}} if parameters else {}
            await self._put(f"/{index}/_mapping", {"_meta": asdict(scan), **known})

    async def remember_deletions(self, index: str, span: str | None) -> None:
        """How long the index remembers what was deleted (None: as usual): longer while old versions may still be sent."""
        await self._put(f"/{index}/_settings", {"index.gc_deletes": span})

    async def refresh(self, type: str) -> bool:
        """Searches of the type that begin after this see everything that was written before. False where it has no index."""
        params = {"ignore_unavailable": "true", "allow_no_indices": "true", "filter_path": "_shards.total"}
        answer = await self._connection.call("POST", f"/{self.layout.alias(type)}/_refresh", params=params, within=_MAKING)
        return bool(_decode(answer)["_shards"]["total"])

    async def refresh_index(self, index: str) -> None:
        """The same for an index that is not searched yet."""
        await self._connection.call("POST", f"/{index}/_refresh", within=_MAKING)

    async def delete(self, index: str) -> None:
        """The index is no more."""
        await self._connection.call("DELETE", f"/{index}", params={"ignore_unavailable": "true"}, within=_MAKING)

    async def names(self) -> list[str]:
        """All indices below the prefix, of other releases too."""
        answer = await self._connection.call(
            "GET", f"/{self.layout.prefix}-*/_settings", params={"filter_path": "*.settings.index.uuid"}
        )
        return sorted(_decode(answer))

    async def contents(self, type: str, *, size: int = 5_000) -> AsyncIterator[list[tuple[int, str]]]:
        """(position, id) of everything that the type's index has, in lists, by position. Refresh before."""
        after: list[Any] | None = None
        while True:
            body: dict[str, Any] = {"size": size, "sort": [{"position": "asc"}, {"id": "asc"}], "track_total_hits": False}
            body |= {"_source": False, "stored_fields": "_none_"} | ({"search_after": after} if after else {})
            params = {"filter_path": "hits.hits.sort", "ignore_unavailable": "true", "allow_partial_search_results": "false"}
            path = f"/{self.layout.alias(type)}/_search"
            answer = _decode(await self._connection.call("POST", path, _encode(body), params=params, within=_MAKING))
            rows: Sequence[Any] = [hit["sort"] for hit in answer.get("hits", {}).get("hits", [])]
            if not rows:
                return
            yield [(row[0], row[1]) for row in rows]
            after = list(rows[-1])


def _scan(entry: Mapping[str, Any]) -> Scan:
    return msgspec.convert(entry.get("mappings", {}).get("_meta", {}), Scan)
