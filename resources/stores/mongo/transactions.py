"""A group of commits as one multi-document transaction, repeated where MongoDB asks for it, within bounds.

The first thing that a transaction does is to move the `position` document. Until it ends every other one, of this server or
another, fails there at once (WriteConflict) and tries again a little later. So commits come one after the other, in the order of their
positions, and nobody sees a position before everything up to it.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern

from resources.store import StoreUnavailable, Version
from resources.stores import events
from resources.stores.bodies import Bodies
from resources.stores.chain import Chain
from resources.stores.commits import Job
from resources.stores.mongo import records
from resources.stores.mongo.driver import ANSWER, DURABLE, settled
from resources.stores.mongo.errors import Errors
from resources.stores.mongo.groups import Found, Group, State
from resources.stores.mongo.schema import CLAIMS, RECEIPTS, RECORDS, STATE, VERSIONS, Types
from resources.stores.mongo.writers import Patience, Writers
from resources.stores.records import Plan

PATIENCE = 10.0
"""Seconds for which a group is tried again before its commits are refused."""

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.004
"""Seconds between two tries: about the first at first, twice as long each time up to the last. Short, since whoever waits longer
than the others never gets the lock."""

TURN, SHARED = 0.003, 1.0
"""Seconds that a server leaves to the others after a group of its own, and for how long after it has noticed them."""

_TRANSIENT, _UNKNOWN = "TransientTransactionError", "UnknownTransactionCommitResult"

Work = Callable[[Any, int, int], Awaitable[Group | None]]
"""Plans and writes a group in a transaction that has the lock: given session, position and instant; None if there is nothing to write."""


class Transactions:
    """Writes groups of commits, one after another."""

    def __init__(self, client: Any, database: Any, errors: Errors, clock: Callable[[], int]) -> None:
        self._database, self._errors, self._clock = database, errors, clock
        self._types, self._bodies = Types(database), Bodies()
        self.writers, self.chain = Writers(client, database), Chain()
        self._turn = asyncio.Lock()
        self._latest, self._shared = -1, 0.0

    async def write(self, jobs: Sequence[Job]) -> None:
        """Write the jobs in one transaction; each gets its `result`. Raises StoreUnavailable, ValueError (one of them is no document)."""
        size = sum(job.positions() for job in jobs)
        keys = {f"{change.type}/{change.id}" for job in jobs for change in job.changes}

        async def work(session: Any, position: int, instant: int) -> Group | None:
            found = await self._found(session, keys)
            await self._find_claims(session, jobs, found, instant)
            group = Group(position, instant, found, self._bodies, self.chain.links())
            await group.plan(jobs)
            if group.empty():
                return None
            await self._fill(session, group)
            unused = position + size - group.position
            if unused:  # positions that were taken for commits that conflicted
                await self._database[STATE].update_one({"_id": "position"}, {"$inc": {"position": -unused}}, session=session)
            return group

        await self._run({change.type for job in jobs for change in job.changes}, size, work)

    async def adopt(self, versions: Sequence[Version]) -> None:
        """Write versions of another store as they are, in one transaction. Raises StoreUnavailable, ValueError (they do not follow)."""
        documents = [version for version in versions if not events.is_own(version)]

        async def work(session: Any, position: int, instant: int) -> Group:
            found = await self._found(session, {f"{version.type}/{version.id}" for version in documents})
            group = Group(position, instant, found, self._bodies, self.chain.links())
            group.adopt(versions)
            await self._fill(session, group)
            moved = {"$set": {"position": group.position}, "$max": {"instant": group.instant}}
            await self._database[STATE].update_one({"_id": "position"}, moved, session=session)
            return group

        await self._run({version.type for version in documents}, 0, work)

    async def _run(self, types: set[str], size: int, work: Work) -> None:
        await self._types.make(types)
        async with self._turn:
            if time.monotonic() < self._shared:
                await asyncio.sleep(_about(TURN))
            await _Tries(self, await self.writers.session(), size, work).run()

    async def lock(self, session: Any, size: int) -> tuple[int, int]:
        """Take the next `size` positions and the instant of this transaction, which from now on is the only one that writes."""
        now = self._clock() // 1000 * 1000
        moved = await self._database[STATE].find_one_and_update(
            {"_id": "position"},
            {"$inc": {"position": size}, "$max": {"instant": now}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if moved is None:
            raise StoreUnavailable(
                "The database has lost its position document: it was emptied while this server ran. Start it anew."
            )
        position = int(moved["position"]) - size
        if position > self._latest >= 0:  # somebody else has written since
            self._shared = time.monotonic() + SHARED
        self._latest = position + size
        return position, int(moved["instant"])

    async def _found(self, session: Any, keys: set[str]) -> Found:
        """The states of these resources."""
        found = Found({}, {}, set(), Plan(lambda name: None, 0))
        if keys:
            wanted = {"_id": 1, "key": 1, "version": 1, "deleted": 1}
            cursor = self._database[VERSIONS].find({"key": {"$in": list(keys)}, "current": True}, wanted, session=session)
            for d in await cursor.to_list(None):
                found.states[d["key"]] = State(int(d["_id"]), d["version"], "deleted" not in d)
        return found

    async def _find_claims(self, session: Any, jobs: Sequence[Job], found: Found, instant: int) -> None:
        """Add the positions of the jobs' claims, and which of their receipts are there and still hold."""
        claims = [claim.key for job in jobs for claim in job.claims]
        receipts = [job.receipt.key for job in jobs if job.receipt is not None]
        if claims:
            cursor = self._database[CLAIMS].find({"_id": {"$in": claims}}, session=session)
            found.claims = {d["_id"]: int(d["position"]) for d in await cursor.to_list(None)}
        if receipts:
            cursor = self._database[RECEIPTS].find(
                {"_id": {"$in": receipts}, "expires": {"$gt": instant}}, {"_id": 1}, session=session
            )
            found.receipts = {d["_id"] for d in await cursor.to_list(None)}
        found.records = await records.planned(self._database[RECORDS], session, jobs, self._clock())

    async def _fill(self, session: Any, group: Group) -> None:
        """Write what the group planned."""
        for name, writes in group.writes():
            for start in range(0, len(writes), 1_000):
                await self._database[name].bulk_write(writes[start : start + 1_000], session=session)

    async def kept(self, session: Any, group: Group) -> bool:
        """Whether a group whose commit had no answer was written after all."""
        trace = group.trace()
        return trace is not None and await self._database[trace[0]].find_one(trace[1], {"_id": 1}, session=session) is not None

    def failed(self, problem: PyMongoError, *, uncertain: bool) -> StoreUnavailable:
        """The error of a group that is given up."""
        return self._errors.unavailable(problem, uncertain=uncertain)


class _Tries:
    """The tries of one group, which takes `size` positions; `work` writes it once it has the lock."""

    def __init__(self, transactions: Transactions, session: Any, size: int, work: Work) -> None:
        self._transactions, self._session, self._size, self._work = transactions, session, size, work
        self._end = time.monotonic() + PATIENCE
        self._pause = FIRST_PAUSE
        self._patience = Patience(transactions.writers)
        self._doubtful: Group | None = None
        """The group whose commit had no answer, while nobody knows whether it was kept."""

    async def run(self) -> None:
        beating = asyncio.create_task(self._transactions.writers.beating(self._session))
        try:
            while True:
                try:
                    await self._once()
                    return
                except PyMongoError as problem:
                    if not self._again(problem):
                        raise self._transactions.failed(problem, uncertain=self._doubtful is not None) from None
                    await self._patience.conflict(problem)
                await self._wait()
        finally:
            beating.cancel()
            if self._doubtful is not None:  # nobody knows whether its events are there: none must follow them
                self._transactions.chain.renew()

    def _again(self, problem: PyMongoError) -> bool:
        """Whether to try again: MongoDB says so and there is time. Where there was no server to be found the driver has waited
        already; only who does not know what became of a commit goes on."""
        if isinstance(problem, ServerSelectionTimeoutError) and self._doubtful is None:
            return False
        return problem.has_error_label(_TRANSIENT) and time.monotonic() < self._end

    async def _once(self) -> None:
        """One transaction. Raises PyMongoError with the label that says whether to try again."""
        transactions, session = self._transactions, self._session
        await settled(session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=DURABLE))
        try:
            with pymongo.timeout(ANSWER):
                position, instant = await transactions.lock(session, self._size)
            if self._doubtful is not None:
                if await transactions.kept(session, self._doubtful):
                    self._doubtful.links.keep()
                    self._doubtful = None
                    await self._abort()
                    return
                self._doubtful = None
            group = await self._work(session, position, instant)
            if group is None:
                await self._abort()
                return
        except BaseException:
            await self._abort()
            raise
        await self._commit(group)

    async def _abort(self) -> None:
        """End a transaction that is not to be kept; where the server does not answer, the session's next one ends it."""
        if self._session.in_transaction:
            with pymongo.timeout(1):
                await self._session.abort_transaction()

    async def _commit(self, group: Group) -> None:
        """Commit, again and again while the answer is lost: MongoDB does it once only.

        Whatever comes in place of an answer leaves it open whether the group was kept: the driver has asked a second time by itself,
        and a server that was started again in between no longer knows what it did.
        """
        while True:
            try:
                with pymongo.timeout(2 * ANSWER):
                    await self._session.commit_transaction()
                group.links.keep()
                self._doubtful = None
                return
            except PyMongoError as problem:
                self._doubtful = group
                if not problem.has_error_label(_UNKNOWN) or time.monotonic() > self._end:
                    raise
            await self._wait()

    async def _wait(self) -> None:
        await asyncio.sleep(_about(self._pause))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _about(seconds: float) -> float:
    """A while of about that length, so that several servers do not try in step."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - no secret depends on it
