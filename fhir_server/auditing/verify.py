"""Verifies the audit: reads every AuditEvent and checkpoint once, in order, in little memory, and tells what is not as it was written."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from joserfc.jwk import OKPKey

from fhir_server.auditing.archive import Manifest
from fhir_server.auditing.chains import Chains
from fhir_server.auditing.findings import Finding, Report
from fhir_server.auditing.reading import readable
from fhir_server.auditing.statements import (
    BadSignature,
    Interval,
    Statement,
    checkpoints,
    hash_of,
    hash_token,
    link_of,
    newest_record,
    opened,
)
from resources.store import ResourceStore, Version
from resources.stores.events import is_own

Progress = Callable[[int, int], None]
"""Told (position reached, position at the end)."""

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{80,90}")


def anchors_in(lines: Iterable[str], keys: Mapping[str, OKPKey], report: Report) -> dict[int, str]:
    """The checkpoints that stand in a log: number -> hash. Those that no key signed are noted in the report."""
    found = {}
    for line in lines:
        for token in _TOKEN.findall(line):
            try:
                found[opened(token, keys).number] = hash_token(token)
            except BadSignature as problem:
                report.add(Finding("checkpoint", "an anchor", f"a checkpoint in the given log does not hold: {problem}"))
    report.anchors = len(found)
    return found


class Verifier:
    """One verification of a store. `keys` are those that are believed, `anchors` checkpoints known from elsewhere (number -> hash)."""

    def __init__(self, store: ResourceStore, keys: Mapping[str, OKPKey], anchors: Mapping[int, str], report: Report) -> None:
        self._store, self._keys, self._anchors, self.report = store, keys, dict(anchors), report
        self._interval = Interval()
        self._last: Statement | None = None
        self._last_hash = ""
        self._number = 0
        self._next: Statement | None = None
        self._wrong_before = 0
        self._seen = set[int]()
        """Positions that are spoilt, or were when they were signed, of the intervals not yet compared."""

    async def run(self, progress: Progress, since: int | None = None, archives: Sequence[Manifest] = ()) -> Report:
        """Everything, or what came after the newest checkpoint made before `since` (microseconds since the epoch). `archives` are those
        that the store knows: what they hold may have been removed from it. Raises StoreUnavailable."""
        until = await self._store.position()
        self._statements = self._opened(until)
        removed = await self._removed(archives, until)
        start = await self._start(max(since or 0, removed[-1].signed) if removed else since)
        self.report.until = start  # where all that was signed is in archives, no checkpoint is left to be compared
        self._chains = Chains(self.report, whole=not start or (bool(removed) and start == removed[-1].until))
        for manifest in removed:
            for writer, (number, hash) in manifest.heads.items():
                self._chains.known(writer, number, hash)
        if self._next is None:
            self._next = await anext(self._statements, None)
        self._wrong_before = self.report.wrong
        async for version in self._events(start, until):
            while self._next is not None and version.position > self._next.until:
                await self._checkpoint(self._next)
            self._take(version)
            if version.position % 500 == 0:
                progress(version.position, until)
        while self._next is not None:
            await self._checkpoint(self._next)
        self.report.unsigned = self._interval.count
        self._missing_anchors()
        progress(until, until)
        return self.report

    async def _removed(self, archives: Sequence[Manifest], until: int) -> Sequence[Manifest]:
        """The archives up to the last one of which something has been removed from the store."""
        if not archives:
            return ()
        first = until + 1
        async for part in readable(self._store, 0, until, lambda position, problem: None):  # told of later, in their place
            own = next((version.position for version in part if is_own(version)), None)
            if own is not None:
                first = own
                break
        removed = [manifest for manifest in archives if manifest.first < first]
        self.report.elsewhere = sum(manifest.count for manifest in removed)
        return removed

    async def _start(self, since: int | None) -> int:
        """The position to begin after; `_next` is then the first checkpoint behind it."""
        if since is None:
            return 0
        before: Statement | None = None
        async for statement in self._statements:
            if statement.made > since:
                self._next = statement
                break
            before = statement
        self._interval = Interval()
        return before.until if before is not None else 0

    async def _events(self, start: int, until: int) -> AsyncIterator[Version]:
        async for part in readable(self._store, start, until, self._spoilt):
            for version in part:
                yield version

    def _spoilt(self, position: int, problem: str) -> None:
        text = f"what stands at position {position} cannot be read ({problem})"
        self.report.add(Finding("unreadable", f"AuditEvent/event-{position}", text, position))
        self._seen.add(position)

    def _take(self, version: Version) -> None:
        hashed, link = hash_of(version), link_of(version)
        self._chains.take(version, hashed, link)
        if self._next is not None and self._next.passes(version.position):
            self._seen.add(version.position)
            self.report.came_back(version.id)
        elif self._next is None or version.position > self._next.after:
            self._interval.add(version, hashed, link)

    async def _checkpoint(self, statement: Statement) -> None:
        """Compare what was read with what a checkpoint says of it."""
        for writer, (number, hash) in statement.heads.items():
            self._chains.ends(writer, number, hash, statement.number)
        found = self._interval
        for writer in found.heads.keys() - statement.heads.keys():
            text = f"checkpoint {statement.number} knows of no such writer up to position {statement.until}"
            self.report.add(Finding("inserted", f"writer {writer}", text, 0, writer, found.heads[writer][0]))
        if self.report.wrong == self._wrong_before and (found.count, found.digest) != (statement.count, statement.digest):
            text = (
                f"checkpoint {statement.number} signed {statement.count} AuditEvents between the positions {statement.after} and"
                f" {statement.until}; there are {found.count}, or not the same ones"
            )
            self.report.add(Finding("changed", f"checkpoint {statement.number}", text, statement.after))
        self._passed_over(statement)
        self.report.until = max(self.report.until, statement.until)
        self._interval = Interval()
        self._next = await anext(self._statements, None)
        self._wrong_before = self.report.wrong

    def _passed_over(self, statement: Statement) -> None:
        """What a checkpoint has passed over must be there, spoilt or put back."""
        for first, last in statement.passed:
            for position in range(first, last + 1):
                if position not in self._seen:
                    text = f"it was spoilt when checkpoint {statement.number} passed over it; now nothing is there"
                    self.report.add(Finding("removed", f"AuditEvent/event-{position}", text, position))
        self._seen = {position for position in self._seen if position > statement.until}

    async def _opened(self, until: int) -> AsyncIterator[Statement]:
        """The checkpoints up to a position, each as far as it can be believed; what is wrong with them is noted."""
        newest = await newest_record(self._store)
        repeated = newest.value.decode("ascii", "replace") if newest is not None else ""
        seen = not repeated
        async for number, token in checkpoints(self._store):
            seen = seen or token == repeated
            statement = self._believed(number, token)
            if statement is not None:
                if statement.until > until:  # made since the beginning
                    return
                yield statement
        if not seen:
            self._wrong(self._number + 1, "the newest one, which is kept a second time, is not among those that are listed")

    def _believed(self, number: int, token: str) -> Statement | None:
        """A checkpoint, if it is genuine. Notes gaps before it."""
        self.report.checkpoints += 1
        expected, self._number = self._number + 1, number
        gap = number - expected
        if gap:
            last = f" to {number - 1}" if gap > 1 else ""
            self._wrong(expected, f"number {expected}{last} is gone: {number} is the next one")
        anchor = self._anchors.pop(number, None)
        if anchor is not None and anchor != hash_token(token):
            self._wrong(number, "the log has another checkpoint of this number")
        previous, self._last_hash = self._last_hash, hash_token(token)
        try:
            statement = opened(token, self._keys)
        except BadSignature as problem:
            self._wrong(number, str(problem))
            return None
        if statement.number != number:
            self._wrong(number, f"it says that it is number {statement.number}")
            return None
        if not gap and statement.previous != previous:
            self._wrong(number, "it names another one before it than the one that is there")
        return statement

    def _missing_anchors(self) -> None:
        for number in sorted(self._anchors):
            if number > self._number:
                self._wrong(number, "the log has it, the store has not: everything from there on was cut off")

    def _wrong(self, number: int, text: str) -> None:
        self.report.add(Finding("checkpoint", f"checkpoint {number}", text))
