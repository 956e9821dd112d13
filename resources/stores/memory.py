"""A store that keeps everything in memory: for tests, and the plainest reading of the contract."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from resources.instants import instant_text, now
from resources.store import Change, Claim, Conflict, Head, HistoryPage, Key, Receipt, Record, RecordChange, Version, Written
from resources.stores import events
from resources.stores.adoption import check_next, check_order
from resources.stores.chain import Chain
from resources.stores.participant import Applied, Participant
from resources.stores.preconditions import check_change, check_claims, check_distinct
from resources.stores.records import Plan, live


class MemoryStore:
    """ResourceStore in Python's own memory. Nothing survives the process."""

    def __init__(self, *, participant: Participant | None = None, clock: Callable[[], int] = now) -> None:
        self._participant, self._clock = participant, clock
        self._versions: list[Version] = []
        self._resources: dict[tuple[str, str], list[Version]] = {}
        self._rows: dict[tuple[str, str], int] = {}
        self._claims: dict[bytes, int] = {}
        self._receipts: dict[bytes, Receipt] = {}
        self._records: dict[tuple[str, str], Record] = {}
        self._confirmed: dict[str, int] = {}
        self._position = self._instant = 0
        self._chain = Chain()

    @property
    def wants_entries(self) -> bool:
        """See ResourceStore.wants_entries."""
        return self._participant is not None

    @property
    def audit_head(self) -> Head:
        """See ResourceStore.audit_head."""
        return self._chain.head

    async def open(self) -> None:
        """See ResourceStore.open."""
        if self._participant is not None:
            self._participant.install(None)

    async def close(self) -> None:
        """See ResourceStore.close."""

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        events: Sequence[bytes] = (),
        claims: Sequence[Claim] = (),
        receipt: Receipt | None = None,
        records: Sequence[RecordChange] = (),
    ) -> list[Written]:
        """See ResourceStore.commit."""
        check_distinct(changes, records)
        for number, change in enumerate(changes):
            self._check(number, change)
        check_claims(claims, lambda key: self._claims.get(key, 0))
        if receipt is not None and await self.receipt(receipt.key) is not None:
            raise Conflict("receipt")
        plan = Plan(self._records.get, self._clock())
        plan.check(records)
        plan.add(records)
        self._instant = max(self._clock() // 1000 * 1000, self._instant)
        written = [self._write(change, *made) for change, made in zip(changes, [self._make(c) for c in changes], strict=True)]
        self._claims.update((claim.key, self._position) for claim in claims)
        if receipt is not None:
            answer = receipt.answer(written) if callable(receipt.answer) else receipt.answer
            self._receipts[receipt.key] = Receipt(receipt.key, receipt.digest, answer, receipt.expires)
        self._log(events)
        for name, record in plan.made.items():
            self._records.pop(name, None)
            if record is not None:
                self._records[name] = record
        return written

    def _record(self, kind: str, key: str) -> Record | None:
        return live(self._records.get((kind, key)), self._clock())

    def _check(self, number: int, change: Change) -> None:
        """Raise Conflict if the change's precondition does not hold."""
        versions = self._resources.get((change.type, change.id), [])
        live = bool(versions) and versions[-1].body is not None
        check_change(number, change, versions[-1].version if versions else 0, live)

    def _make(self, change: Change) -> tuple[int, bytes | None, Any]:
        """A change's version number, its document, and what the participant keeps of that. Writes nothing."""
        versions = self._resources.get((change.type, change.id))
        number = versions[-1].version + 1 if versions else 1
        if change.draft is None:
            return number, None, None
        body, entry = change.draft.stamp(number, instant_text(self._instant)), change.entry
        if entry is None and self._participant is not None:
            entry = self._participant.prepare(change.type, body)
        return number, body, entry

    def _write(self, change: Change, number: int, body: bytes | None, entry: Any) -> Written:
        key = (change.type, change.id)
        versions = self._resources.setdefault(key, [])
        created, new = not versions or versions[-1].body is None, not versions
        row = self._rows.setdefault(key, len(self._rows) + 1)
        self._position += 1
        version = Version(change.type, change.id, number, self._instant, change.method, body, self._position)
        versions.append(version)
        self._versions.append(version)
        if self._participant is not None:
            self._participant.write(None, [Applied(row, *key, self._instant, entry, created, new, body is not None)])
        return Written(version, created)

    def _log(self, made: Sequence[bytes]) -> None:
        if not made:
            return
        first, links = self._position + 1, self._chain.links()
        stamped = links.stamp(made, first, self._instant)
        links.keep()
        for event in events.unpack(stamped, first, self._instant):
            self._position = event.position
            self._resources[(event.type, event.id)] = [event]
            self._versions.append(event)
            if self._participant is not None:
                entry = self._participant.prepare(event.type, event.body or b"")
                row = events.ROW + event.position
                self._participant.write(None, [Applied(row, event.type, event.id, event.instant, entry, True, True)])

    async def adopt(self, versions: Sequence[Version]) -> None:
        """See ResourceStore.adopt."""
        check_order(versions, self._position)
        numbers: dict[tuple[str, str], int] = {}
        for version in versions:
            key = (version.type, version.id)
            check_next(version, numbers.get(key) or len(self._resources.get(key, ())))
            numbers[key] = version.version
        for version in versions:
            key = (version.type, version.id)
            kept = self._resources.setdefault(key, [])
            created, new = not kept or kept[-1].body is None, not kept
            kept.append(version)
            self._versions.append(version)
            self._position, self._instant = version.position, max(self._instant, version.instant)
            if self._participant is not None:
                event = events.is_own(version)
                row = events.ROW + version.position if event else self._rows.setdefault(key, len(self._rows) + 1)
                entry = None if version.body is None else self._participant.prepare(version.type, version.body)
                self._participant.write(None, [Applied(row, *key, version.instant, entry, created, new, version.body is not None)])

    async def read(self, type: str, id: str) -> Version | None:
        """See ResourceStore.read."""
        versions = self._resources.get((type, id))
        return versions[-1] if versions else None

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """See ResourceStore.read_version."""
        return next((v for v in self._resources.get((type, id), []) if v.version == version), None)

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """See ResourceStore.read_many."""
        return [await self.read(key.type, key.id) for key in keys]

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
        """See ResourceStore.history."""
        found = [v for v in self._history(type, id, since, at) if before is None or v.position < before]
        return HistoryPage(found[:limit], found[limit - 1].position if len(found) > limit else None)

    async def count_history(
        self, type: str | None, id: str | None, *, since: int | None = None, at: tuple[int, int] | None = None
    ) -> int:
        """See ResourceStore.count_history."""
        return len(self._history(type, id, since, at))

    def _history(self, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None) -> list[Version]:
        return [
            v
            for v in reversed(self._versions)
            if (v.type == type if type is not None else not events.is_own(v))
            and (id is None or v.id == id)
            and (since is None or v.instant >= since)
            and (at is None or self._current_within(v, at))
        ]

    def _current_within(self, version: Version, at: tuple[int, int]) -> bool:
        later = [v for v in self._resources[(version.type, version.id)] if v.version > version.version]
        return version.instant < at[1] and (not later or later[0].instant > at[0])

    async def position(self) -> int:
        """See ResourceStore.position."""
        return self._position

    async def newest(self, types: Sequence[str]) -> list[int]:
        """See ResourceStore.newest."""
        return [next((v.position for v in reversed(self._versions) if v.type == type), 0) for type in types]

    async def receipt(self, key: bytes) -> Receipt | None:
        """See ResourceStore.receipt."""
        kept = self._receipts.get(key)
        return kept if kept is not None and kept.expires > self._clock() else None

    async def record(self, kind: str, key: str) -> Record | None:
        """See ResourceStore.record."""
        return self._record(kind, key)

    async def records(self, kind: str, *, tag: str | None = None, after: str = "", limit: int = 1000) -> list[Record]:
        """See ResourceStore.records."""
        keys = sorted(key for known, key in self._records if known == kind and key > after)
        found = (self._record(kind, key) for key in keys)
        return [one for one in found if one is not None and (tag is None or tag in one.tags)][:limit]

    async def record_kinds(self) -> list[str]:
        """See ResourceStore.record_kinds."""
        return sorted({kind for kind, _ in self._records})

    async def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncGenerator[list[Version], None]:
        """See ResourceStore.scan."""
        latest: dict[tuple[str, str], Version] = {}
        for version in self._versions:
            if version.position <= until and (not types or version.type in types):
                latest[(version.type, version.id)] = version
        kept = [
            v
            for v in latest.values()
            if v.body is not None and v.position > after and self._rows.get((v.type, v.id), v.position) % shard[1] == shard[0]
        ]
        if kept:
            yield sorted(kept, key=lambda v: v.position)

    async def forget_events(self, until: int) -> int:
        """See ResourceStore.forget_events."""
        own = [version for version in self._versions if events.is_own(version)]
        gone = [version for version in own[:-1] if version.position <= until]
        for version in gone:
            del self._resources[(version.type, version.id)]
            if self._participant is not None:
                self._participant.write(None, [events.forgotten(version)])
        kept = {version.position for version in gone}
        self._versions = [version for version in self._versions if version.position not in kept]
        return len(gone)

    async def confirm(self, index: str, position: int | None) -> None:
        """See ResourceStore.confirm."""
        if position is None:
            self._confirmed.pop(index, None)
        else:
            self._confirmed[index] = max(position, self._confirmed.get(index, 0))

    async def confirmed(self, index: str) -> int:
        """See ResourceStore.confirmed."""
        return self._confirmed.get(index, 0)

    async def outbox(self, *, after: int, limit: int = 1000) -> AsyncIterator[list[Version]]:
        """See ResourceStore.outbox."""
        for part in _parts([v for v in self._versions if v.position > after], limit):
            yield part


def _parts(versions: list[Version], size: int) -> Iterable[list[Version]]:
    for start in range(0, len(versions), size):
        yield versions[start : start + size]
