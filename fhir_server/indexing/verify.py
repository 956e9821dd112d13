"""Store and index compared, document by document, and made to agree.

Both are read in the order of positions: what the store has and the index lacks, or has in another version, is written anew; what the index
has and the store does not is deleted. Nothing needs to stop meanwhile: what is written during the comparison is left to the feed.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from fhir_server.indexing.added import Added
from resources.store import Key, ResourceStore, StoreUnavailable, Version
from search.indexes.elastic.indices import Indices

_AT_A_TIME = 500


@dataclass(slots=True)
class Drift:
    """What the comparison of one type found: `documents` in the store; of these `missing` in the index, or there in another version;
    `surplus` that the index has and the store has not; `repaired` of both; `refused` that the index does not take.
    """

    type: str
    documents: int = 0
    missing: int = 0
    surplus: int = 0
    repaired: int = 0
    refused: int = 0

    @property
    def agrees(self) -> bool:
        """Whether store and index agree now."""
        return self.missing + self.surplus == self.repaired


class Comparison:
    """The comparison of one type, as it was at position `until`, which the index has been fed up to."""

    def __init__(self, store: ResourceStore, indices: Indices, added: Added, type: str, until: int, *, repair: bool) -> None:
        self._store, self._indices, self._added = store, indices, added
        self._until, self._repair = until, repair
        self._settled: set[str] = set()
        self.drift = Drift(type)

    async def run(self) -> Drift:
        """Compare and, if asked to, repair. Raises StoreUnavailable."""
        type = self.drift.type
        there = await self._indices.refresh(type)
        ours, theirs = _Lists(self._live()), _Lists(self._indices.contents(type))
        wrong: dict[str, None] = {}
        if not there and await ours.head():
            raise StoreUnavailable(f"The search index of {type} is being built; compare it again later.")
        while (mine := await ours.head()) or await theirs.head():
            other = await theirs.head()
            if mine is not None and (other is None or mine < other):
                wrong[mine[1]] = None
                ours.drop()
            elif other is not None and (mine is None or other < mine):
                if other[0] <= self._until:
                    wrong[other[1]] = None
                theirs.drop()
            else:
                ours.drop()
                theirs.drop()
            if len(wrong) >= _AT_A_TIME:
                await self._settle(wrong)
                wrong.clear()
        await self._settle(wrong)
        if self._repair and self.drift.missing + self.drift.surplus:
            left = await Comparison(self._store, self._indices, self._added, type, self._until, repair=False).run()
            self.drift.repaired -= left.missing + left.surplus
        return self.drift

    async def _settle(self, ids: Iterable[str]) -> None:
        """Count what is wrong, and write what the store has of it now. What was written since `until` is the feed's business."""
        new = [id for id in ids if id not in self._settled]
        self._settled.update(new)
        if not new:
            return
        type, drift, wrong = self.drift.type, self.drift, list[Version]()
        position = await self._store.position()
        for id, found in zip(new, await self._store.read_many([Key(type, id) for id in new]), strict=True):
            version = found or Version(type, id, 0, 0, "DELETE", None, self._until)
            if version.position > self._until:
                continue
            wrong.append(version)
            drift.missing += version.body is not None
            drift.surplus += version.body is None
        if self._repair:
            await self._added.learn()
            drift.refused += await self._added.write(wrong, version=position)
            drift.repaired += len(wrong)

    async def _live(self) -> AsyncIterator[list[tuple[int, str]]]:
        async for versions in self._store.scan([self.drift.type], until=self._until):
            self.drift.documents += len(versions)
            yield [(version.position, version.id) for version in versions]


class _Lists:
    """The head of an ordered stream of lists."""

    def __init__(self, lists: AsyncIterator[list[tuple[int, str]]]) -> None:
        self._lists, self._list, self._at = lists, list[tuple[int, str]](), 0

    async def head(self) -> tuple[int, str] | None:
        while self._at >= len(self._list):
            try:
                self._list, self._at = await anext(self._lists), 0
            except StopAsyncIteration:
                return None
        return self._list[self._at]

    def drop(self) -> None:
        self._at += 1
