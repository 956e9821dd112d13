"""Below a patient: who and what the records refer to outside of them, such as the Practitioner of an Encounter
(https://hl7.org/fhir/uv/bulkdata/export.html#query-parameters, `_type`).

That is what documents of the export refer to, and what those refer to in turn, as all was at the snapshot, whenever it was written. The
documents are looked through once more for that, by one part: as bytes, and only those whose references are not known yet are decided
upon. What was found is kept in a file of the job, so that whoever follows writes the same.
"""

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from fhir_server.exporting.asked import SUPPORTING
from fhir_server.exporting.cohort import lines_of
from fhir_server.exporting.provenance import Provenances
from fhir_server.exporting.selecting import Selection
from fhir_server.exporting.snapshot import at_position
from fhir_server.exporting.writing.output import Output
from fhir_server.exporting.writing.shape import shape_of
from fhir_server.exporting.writing.written import Item, Place
from fhir_server.jobs import work
from fhir_server.jobs.breathing import Breath
from fhir_server.jobs.work import Task
from resources.names import Names
from resources.store import Key, Version

NAME = "supporting"
_CHUNK = 500

_LATELY = 100_000
"""References that are known by a fast set; the others by one that is small."""

Named = Mapping[str, Names]
"""Ids by type."""


async def write_supporting(task: Task, place: Place, selection: Selection) -> Any:
    """Write the part's files, a type after the other. `place.after` counts the documents that are done. Raises as any part."""
    if await task.files.size(_name(task)) is None:
        await _keep(task, await _Search(task, selection).all())
    chunks = _kept(task, place.after)
    chunk = await anext(chunks, None)
    while chunk is not None:
        type, done = chunk[0].type, place.after
        shape = shape_of(selection.asked, type, selection.hiding)
        async with Output(task, place, type=type, name=type, about=(type,), format=selection.asked.format) as output:
            while chunk is not None and chunk[0].type == type:
                versions = {each.id: each for each in await at_position(task.ctx.store, chunk, selection.whole.position)}
                shaped = ((number, shape(versions[key.id])) for number, key in enumerate(chunk, done + 1) if key.id in versions)
                await output.add([Item(data, number) for number, data in shaped if data is not None])
                done += len(chunk)
                chunk = await anext(chunks, None)
            await output.close()
            place = Place(done, output.place.files)
    return place.files


def _name(task: Task) -> str:
    return f"{task.job.id}/{NAME}"


async def _keep(task: Task, names: Named) -> None:
    """Put down what is referred to, by type, for whoever follows."""
    async with task.files.writing(_name(task), "text/plain") as file:
        for type in sorted(names):
            for keys in _chunks(names, type):
                await file.write("".join(f"{type}/{key.id}\n" for key in keys).encode())


async def _kept(task: Task, after: int) -> AsyncGenerator[list[Key], None]:
    """What was put down but for the first so many, some of one type at a time."""
    async for lines in lines_of(task.files, _name(task)):
        keys = [Key(type, id) for type, _, id in (line.partition("/") for line in lines[after:])]
        after = max(0, after - len(lines))
        for _, of_type in groupby(keys, key=lambda key: key.type):
            several = list(of_type)
            for start in range(0, len(several), _CHUNK):
                yield several[start : start + _CHUNK]


def _chunks(names: Named, type: str) -> Iterator[list[Key]]:
    """Those of a type, some at a time."""
    keys = (Key(type, id) for id in names[type])
    while several := list(islice(keys, _CHUNK)):
        yield several


class _Search:
    """Looks for references in the documents of an export."""

    def __init__(self, task: Task, selection: Selection) -> None:
        self._task, self._selection = task, selection
        wanted = [type for type in selection.whole.types if type in SUPPORTING]
        bases = [re.escape(base.encode()) for base in (*task.ctx.settings.bases, selection.asked.base)]
        # stored bytes have no white space between tokens, and quotes within strings are escaped
        self._find: Callable[[bytes], list[bytes]] = re.compile(
            rb'"reference":"(?:(?:%b)/)?((?:%b)/[A-Za-z0-9.-]{1,64})["/]' % (b"|".join(bases), "|".join(wanted).encode())
        ).findall
        self._wanted = wanted
        self._known, self._lately = self._nothing(), set[bytes]()
        self._breath, self._decided = Breath(task.ctx.metrics), time.monotonic()

    def _nothing(self) -> Named:
        return {type: Names() for type in self._wanted}

    async def all(self) -> Named:
        """What is referred to and exported."""
        async for versions in self._exported():
            self._note(versions, self._known)
        found, fresh = self._nothing(), self._known
        while any(fresh.values()):
            newer = self._nothing()
            async for there in self._there(fresh):
                self._note(there, newer)
                for version in there:
                    found[version.type].add(version.id)
            for type, ids in newer.items():
                self._known[type].update(ids)
            fresh = newer
        return found

    def _note(self, versions: Sequence[Version], names: Named) -> None:
        """Add what these refer to and nothing did before."""
        for version in versions:
            for type, id in self._fresh(version):
                names[type].add(id)

    def _fresh(self, version: Version) -> list[tuple[str, str]]:
        """What a version refers to and nothing did before, as types and ids."""
        found = []
        for name in self._find(version.body or b""):
            if name not in self._lately:
                type, _, id = name.decode().partition("/")
                if id not in self._known[type]:
                    found.append((type, id))
                elif len(self._lately) < _LATELY:
                    self._lately.add(name)
                else:
                    self._lately = {name}
        return found

    async def _exported(self) -> AsyncIterator[Sequence[Version]]:
        """Those documents of the records that refer to something that was not known before them."""
        whole = self._selection.whole
        for type in whole.types:
            if type in SUPPORTING and type != "Device":
                continue
            chosen = Provenances(self._selection) if type == "Provenance" else self._selection
            after = 0 if type == "Provenance" and self._selection.asked.provenance else whole.after
            async for found in self._selection.documents(type, after):
                versions = [each for each in found if each.position <= whole.until]
                if fresh := [each for each in versions if self._fresh(each)]:
                    yield await chosen.kept(fresh)
                await self._pause()
                if len(versions) < len(found):
                    break

    async def _there(self, names: Named) -> AsyncGenerator[list[Version], None]:
        """The documents as they were at the snapshot, some at a time; of Devices those that are in nobody's record."""
        for type in self._wanted:
            filters = await self._selection.filtering(type)
            for chunk in _chunks(names, type):
                versions = await at_position(self._task.ctx.store, chunk, self._selection.whole.position)
                free = [each for each in versions if type != "Device" or not self._selection.patients(each)]
                yield await filters.kept(free) if filters is not None and free else free
                await self._pause()

    async def _pause(self) -> None:
        """Rest, and look now and then whether the owner may still have anything. Raises Failed."""
        await self._breath.rest()
        if time.monotonic() > self._decided + work.FRESH:
            await self._task.decided()
            self._decided = time.monotonic()
