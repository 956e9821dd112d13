"""The store as a caller sees it: a document that is out of reach is as one that never was, and nothing is written beyond the grants.

A version is judged by what it says itself, a deletion by the version before it; one that is not current is shown only where the current
one is within reach too: what has been labelled as sensitive, or put into another patient's record, was that before. What an index has
found is judged again when it is read: an index may be late, and a document may have become another patient's meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec

from fhir_server.access.decision import Decision, Reach
from fhir_server.access.judging import Judge
from fhir_server.access.refusals import NotGranted, insufficient, outside
from fhir_server.access.types import BINARY
from resources.instants import instant_text, now
from resources.outcomes import FhirError, not_found
from resources.store import ABSENT, ANY, Change, Claim, Conflict, HistoryPage, Key, Receipt, ResourceStore, Version, Written
from search.index import TooCostly

_ATTEMPTS = 8
"""Times that a write looks again because somebody else wrote in between."""

_LOOKED_AT = 1_000
"""Versions that are read at a time to find those of a history that are within reach."""

_TOGETHER = 100
"""Versions for which the current ones are read at a time."""

MOST_LOOKED_AT = 20_000
"""Versions that one page of a history may have to look at: then it ends early, and goes on behind its next link."""


class SeenStore:
    """What handlers use of a ResourceStore, within `decision`. `one` is what can be reached by its id, `many` what can be among others
    (None: everything). `new_id` makes ids of new resources."""

    def __init__(
        self,
        whole: ResourceStore,
        judge: Judge,
        decision: Decision,
        one: Reach | None,
        many: Reach | None,
        new_id: Callable[[], str],
    ) -> None:
        self._whole, self._judge, self._decision = whole, judge, decision
        self._one, self._many, self._make_id = one, many, new_id
        self._fresh: set[str] = set()

    @property
    def behind(self) -> ResourceStore:
        """What this is a view of: for another view, and for nothing else."""
        return self._whole

    @property
    def wants_entries(self) -> bool:
        """See ResourceStore.wants_entries."""
        return self._whole.wants_entries

    def new_id(self) -> str:
        """An id for a new resource: such ids nobody chose, so that trying them tells nothing."""
        id = self._make_id()
        self._fresh.add(id)
        return id

    async def read(self, type: str, id: str) -> Version | None:
        """See ResourceStore.read."""
        return await self._seen(self._one, await self._whole.read(type, id))

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """See ResourceStore.read_version."""
        found = await self._whole.read_version(type, id, version)
        if self._one is None:
            return found
        current = await self._seen(self._one, await self._whole.read(type, id))
        return await self._seen(self._one, found) if current is not None else None

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """See ResourceStore.read_many."""
        return [await self._seen(self._many, version) for version in await self._whole.read_many(keys)]

    async def history(
        self,
        type: str | None,
        id: str | None,
        *,
        since: int | None = None,
        at: tuple[int, int] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> HistoryPage:
        """See ResourceStore.history. A page that had to look at many versions ends early."""
        reach = self._one if id is not None else self._many
        if reach is None or (type is not None and reach.whole(type)):
            return await self._whole.history(type, id, since=since, at=at, before=before, limit=limit)
        found: list[Version] = []
        current: dict[Key, bool] = {}
        looked_at, place = 0, before
        while looked_at < MOST_LOOKED_AT:
            page = await self._whole.history(type, id, since=since, at=at, before=place, limit=_LOOKED_AT)
            async for versions in self._shown(reach, page.versions, max(limit, _TOGETHER), current):
                found += versions
                if len(found) > limit:
                    return HistoryPage(found[:limit], found[limit - 1].position)
            looked_at, place = looked_at + len(page.versions), page.next
            await asyncio.sleep(0)  # others have their turn
            if place is None:
                return HistoryPage(found, None)
        return HistoryPage(found, place)

    async def count_history(
        self, type: str | None, id: str | None, *, since: int | None = None, at: tuple[int, int] | None = None
    ) -> int:
        """See ResourceStore.count_history. Raises TooCostly where too many versions would have to be looked at."""
        reach = self._one if id is not None else self._many
        if reach is None or (type is not None and reach.whole(type)):
            return await self._whole.count_history(type, id, since=since, at=at)
        page = await self.history(type, id, since=since, at=at, limit=MOST_LOOKED_AT)
        if page.next is not None:
            raise TooCostly("There are too many versions to count them; ask for the history of one resource, or for a later _since")
        return len(page.versions)

    async def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncGenerator[list[Version], None]:
        """See ResourceStore.scan."""
        async for versions in self._whole.scan(types, until=until, after=after, shard=shard):
            found = [version for version in versions if self._judge.within(self._many, version)]
            if self._many is not None and self._many.standing_in is not None:
                found = [version for version in found if await self._stood_for(self._many, version)]
            yield found

    async def position(self) -> int:
        """See ResourceStore.position."""
        return await self._whole.position()

    async def receipt(self, key: bytes) -> Receipt | None:
        """See ResourceStore.receipt. Keys are the caller's own (`fhir_server/idempotency.py`)."""
        return await self._whole.receipt(key)

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        events: Sequence[bytes] = (),
        claims: Sequence[Claim] = (),
        receipt: Receipt | None = None,
    ) -> list[Written]:
        """See ResourceStore.commit. Raises NotGranted for a document that must not become what it is to be, or that could be reached but
        not changed; for one out of reach whatever is raised where there is none. What was judged is what is replaced."""
        for attempt in range(1, _ATTEMPTS + 1):
            judged = await self._judged(changes)
            try:
                return await self._whole.commit(judged, events=events, claims=claims, receipt=receipt)
            except Conflict as clash:
                mine = (
                    clash.reason in ("version", "deleted", "missing", "exists") and judged[clash.index] is not changes[clash.index]
                )
                if not mine or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _shown(
        self, reach: Reach, versions: Sequence[Version], together: int, current: dict[Key, bool]
    ) -> AsyncIterator[list[Version]]:
        """Those of the versions that are within reach, in their order, more than `together` at a time. `current` keeps whether the
        current ones are."""
        waiting: list[Version] = []
        for number, version in enumerate(versions, 1):
            if await self._seen(reach, version) is not None:
                waiting.append(version)
            if len(waiting) > together or number == len(versions):
                unknown = [key for key in dict.fromkeys(Key(each.type, each.id) for each in waiting) if key not in current]
                for key, newest in zip(unknown, await self._whole.read_many(unknown) if unknown else (), strict=True):
                    current[key] = await self._seen(reach, newest) is not None
                yield [each for each in waiting if current[Key(each.type, each.id)]]
                waiting = []

    async def _seen(self, reach: Reach | None, version: Version | None) -> Version | None:
        """The version if it is within reach."""
        if version is None or reach is None:
            return version
        said = version if version.body is not None else await self._before(version)
        within = said is not None and self._judge.within(reach, said) and await self._stood_for(reach, said)
        return version if within else None

    async def _stood_for(self, reach: Reach, version: Version) -> bool:
        """Whether what stands in for a version (no deletion) is within reach; what is not there is not."""
        if version.type != BINARY or reach.standing_in is None:
            return True
        assert version.body is not None
        key = self._judge.stand_in(version.body)
        return key is None or await self._seen(reach.standing_in, await self._whole.read(key.type, key.id)) is not None

    async def _before(self, deletion: Version) -> Version | None:
        """The last version before a deletion that says anything."""
        for number in range(deletion.version - 1, 0, -1):
            version = await self._whole.read_version(deletion.type, deletion.id, number)
            if version is not None and version.body is not None:
                return version
        return None

    async def _judged(self, changes: Sequence[Change]) -> list[Change]:
        """The changes, each bound to the version that it was judged by."""
        old = [change for change in changes if not self._is_new(change)]
        current = await self._whole.read_many([Key(change.type, change.id) for change in old]) if old else []
        there = {(change.type, change.id): version for change, version in zip(old, current, strict=True)}
        return [
            await self._one_judged(number, change, there.get((change.type, change.id))) for number, change in enumerate(changes)
        ]

    def _is_new(self, change: Change) -> bool:
        return change.expect == ABSENT and change.id in self._fresh

    async def _one_judged(self, number: int, change: Change, current: Version | None) -> Change:
        letter = "d" if change.draft is None else "c" if change.method == "POST" else "u"
        reach = self._decision.letter(letter)
        if change.draft is not None and not self._may_become(reach, change):
            raise NotGranted(outside(self._decision, letter, change.type), number)
        if reach is None or reach.whole(change.type):
            return change
        if self._is_new(change):
            self._refuse_other_records(number, letter, change, reach, None)
            return change
        if not reach.of(change.type):
            raise NotGranted(insufficient(self._decision, letter, change.type), number)
        if await self._seen(reach, current) is None:
            raise await self._unreached(number, change, current, letter)
        self._refuse_other_records(number, letter, change, reach, current)
        return self._bound(number, change, current)

    def _refuse_other_records(self, number: int, letter: str, change: Change, reach: Reach, current: Version | None) -> None:
        """Raises NotGranted for a document that lies, or would come to lie, in the record of a patient who is not within reach too: a
        patient who is the performer of an Observation cannot make it another patient's, nor delete what both share."""
        others = set[str]()
        if change.draft is not None:
            instant = now()
            body = change.draft.stamp(1, instant_text(instant))
            others |= self._judge.other_records(reach, change.type, change.id, body, instant)
        if current is not None and current.body is not None:
            others |= self._judge.other_records(reach, change.type, change.id, current.body, current.instant)
        if others:
            raise NotGranted(outside(self._decision, letter, change.type), number)

    def _may_become(self, reach: Reach | None, change: Change) -> bool:
        assert change.draft is not None
        if reach is None or reach.whole(change.type):
            return True
        instant = now()
        body = change.draft.stamp(1, instant_text(instant))
        return self._judge.document_within(reach, change.type, change.id, body, instant)

    async def _unreached(self, number: int, change: Change, current: Version | None, letter: str) -> Exception:
        """Why a document cannot be changed: one that is seen, in plain words; one that is not, as one that is not there."""
        if await self._seen(self._decision.any("rs"), current) is not None and current is not None and current.body is not None:
            return NotGranted(outside(self._decision, letter, change.type), number)
        if change.draft is None:
            return Conflict("missing", number)
        return NotGranted(_no_such(change), number)

    @staticmethod
    def _bound(number: int, change: Change, current: Version | None) -> Change:
        """The change, to be made to the version that was judged and to no other. Raises Conflict where it asks for another one."""
        assert current is not None, "what is not there is out of reach"
        if change.expect > 0 and (current.body is None or current.version != change.expect):
            raise Conflict("version" if current.body is not None else "deleted", number, current.version)
        if change.expect != ANY or (current.body is None and change.draft is None):
            return change
        return msgspec.structs.replace(change, expect=ABSENT if current.body is None else current.version)


def _no_such(change: Change) -> FhirError:
    text = f"{change.type}/{change.id} does not exist. With this access token new resources are made by POST, under an id of the server's"
    return not_found(text)
