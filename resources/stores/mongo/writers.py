"""Who writes: each store notes the session of its transactions, so that others can end it should its process die in the middle.

MongoDB keeps the transaction of a client that is gone for up to a minute, with its lock on the `position` document, and meanwhile
nobody could write. So a writer's note has a beat that goes up twice a second while a transaction of it is open. Who has waited for the
lock for two seconds, in which no commit came through, ends the sessions whose beat has stood still. Where the one behind it was
alive after all it loses nothing: its transaction begins again.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from resources.stores.mongo.driver import settled
from resources.stores.mongo.schema import STATE, WRITERS

log = logging.getLogger(__name__)

BEAT, STILL = 0.5, 1.5
"""Seconds between two beats, and how long a beat stands still, with no commit by anybody, until its writer is taken for dead."""

IDLE = 600.0
"""Seconds after which a session that was not used is exchanged (MongoDB forgets it after thirty minutes)."""

_WRITE_CONFLICT = 112


class Writers:
    """This store's writing session, and the notes of all."""

    def __init__(self, client: Any, database: Any) -> None:
        self._client, self._database = client, database
        self._notes = database[WRITERS]
        self._session: Any = None
        self._used = 0.0

    async def session(self) -> Any:
        """The session for the next transaction; noted before it is used."""
        if self._session is None or time.monotonic() - self._used > IDLE:
            await self.close()
            session = await settled(self._client.start_session())
            await self._beat(session)
            self._session = session
        self._used = time.monotonic()
        return self._session

    async def close(self) -> None:
        """End the session and take its note away."""
        if self._session is None:
            return
        session, self._session = self._session, None
        with suppress(PyMongoError):  # an old note harms nobody, and is swept
            await self._notes.delete_one({"_id": _name(session)})
        await session.end_session()

    async def beating(self, session: Any) -> None:
        """Go on beating until cancelled: beside an open transaction."""
        while True:
            await asyncio.sleep(BEAT)
            with suppress(PyMongoError):  # the transaction itself will notice
                await self._beat(session)

    async def _beat(self, session: Any) -> None:
        await self._notes.update_one({"_id": _name(session)}, {"$inc": {"beat": 1}, "$currentDate": {"seen": True}}, upsert=True)

    async def sweep(self) -> None:
        """Delete the notes that nobody has touched for a day. This store's own goes on."""
        if self._session is not None:
            await self._beat(self._session)
        await self._notes.delete_many({"$expr": {"$lt": ["$seen", {"$subtract": ["$$NOW", 86_400_000]}]}})

    async def beats(self) -> tuple[int, dict[Any, int]]:
        """The newest position, and the beats of all writers but this one."""
        position = await self._database[STATE].find_one({"_id": "position"})
        own = _name(self._session) if self._session is not None else None
        notes = await self._notes.find({"_id": {"$ne": own}}).to_list(None)
        return int(position["position"]) if position else 0, {note["_id"]: note["beat"] for note in notes}

    async def end(self, names: list[Any]) -> None:
        """End the sessions of writers that are gone, and with them their transactions."""
        try:
            await self._client.admin.command({"killSessions": [{"id": name} for name in names]})
            log.warning("a writer died within a transaction: %d sessions were ended so that others can write", len(names))
        except OperationFailure as problem:  # not every server that speaks the protocol has it: then its own time limit ends them
            log.warning("sessions of writers that are gone could not be ended (code %s)", problem.code)


class Patience:
    """One writer's wait for the lock: notices when it is held by somebody who is gone."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers
        self._began: float | None = None
        self._noted: tuple[int, dict[Any, int]] | None = None

    async def conflict(self, problem: PyMongoError) -> None:
        """Told of each try that failed."""
        if not isinstance(problem, OperationFailure) or problem.code != _WRITE_CONFLICT:
            return
        with suppress(PyMongoError):  # where the server is gone the next try tells it
            await self._look(time.monotonic())

    async def _look(self, moment: float) -> None:
        if self._began is None:
            self._began = moment
        elif self._noted is None and moment - self._began > BEAT:
            self._began, self._noted = moment, await self._writers.beats()
        elif self._noted is not None and moment - self._began > STILL:
            noted, self._noted, self._began = self._noted, None, None
            position, beats = await self._writers.beats()
            still = [name for name, beat in beats.items() if noted[1].get(name) == beat]
            if position == noted[0] and still:
                await self._writers.end(still)


def _name(session: Any) -> Any:
    return session.session_id["id"]
