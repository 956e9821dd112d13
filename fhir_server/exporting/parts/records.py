"""`organizeOutputBy=Patient`: each patient's record in one piece, behind a header
(https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-output-file-organization).

What lies in a patient's compartment now is told by the search index; what was changed or deleted since the snapshot, which the index
tells of as it is now, is looked up in the store. A record is never cut by the end of a file. What lies in the compartments of several
patients comes in each record; what lies in none, or in that of a patient who is not here, in none.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from fhir_server.auditing.patients import patients_of
from fhir_server.exporting.finding import Since, compartment_query, found_in_turn
from fhir_server.exporting.plan import Span
from fhir_server.exporting.selecting import Selection
from fhir_server.exporting.snapshot import in_pieces
from fhir_server.exporting.writing.output import Output
from fhir_server.exporting.writing.shape import Shape, shape_of
from fhir_server.exporting.writing.written import Item, Place
from fhir_server.jobs.work import Task
from fhir_server.searching.depending import is_late
from resources.names import Lines, Names
from resources.store import Key, StoreUnavailable, Version
from search.query import Query


async def write_records(task: Task, span: Span, place: Place, selection: Selection) -> Any:
    """Write the part's files: the records of the Patients of the span."""
    queries = [Query(type, total="none") for type in selection.whole.types if type != "Patient"]
    if queries and await is_late(task.ctx, queries, position=selection.whole.position):
        raise StoreUnavailable("The search index has not caught up with what is to be exported")
    records = _Records(task, selection)
    output = Output(task, place, type="", name="record", about=selection.whole.types)
    async with output:
        async for found in selection.documents("Patient", place.after):
            patients = [version for version in found if version.position <= span.until]
            for patient in patients:
                if selection.of_patients(patient):
                    await _write(output, records, patient)
            if found and found[-1].position >= span.until:
                break
        await output.close()
        return output.place.files


class _Page(NamedTuple):
    """Lines of a record, and the patients (ids) whom these name."""

    lines: list[bytes]
    patients: tuple[str, ...]


async def _write(output: Output, records: "_Records", patient: Version) -> None:
    """Write a record as it is read, however long it is, into one file."""
    async with aclosing(records.pages(patient)) as pages:
        async for page in pages:
            output.about(page.patients)
            await output.hold([Item(line, patient.position) for line in page.lines])
            await asyncio.sleep(0)  # others have their turn
    await output.settle()


class _Records:
    """Reads records as they were at the snapshot."""

    def __init__(self, task: Task, selection: Selection) -> None:
        self._ctx, self._selection = task.ctx, selection
        self._types = [type for type in selection.whole.types if type != "Patient"]
        self._shapes: dict[str, Shape] = {type: shape_of(selection.asked, type, selection.hiding) for type in selection.whole.types}
        self._changed, self._known = Lines(), Names()
        self._since = Since(task.ctx, self._types, selection.whole.position)

    async def pages(self, patient: Version) -> AsyncGenerator[_Page, None]:
        """The header and the documents of a record, some at a time; nothing where nothing of it is exported."""
        hiding = self._selection.hiding
        id = hiding.id("Patient", patient.id) if hiding is not None else patient.id
        header = {"name": "header", "valueReference": {"reference": f"Patient/{id}"}}
        before = [msgspec.json.encode({"resourceType": "Parameters", "parameter": [header]})]
        async for lines, named in self._found(patient):
            if lines:
                yield _Page(before + lines, (patient.id, *named))
                before = []

    async def _found(self, patient: Version) -> AsyncGenerator[_Page, None]:
        if "Patient" in self._shapes:
            yield await self._documents([patient])
        keys = await self._keys(patient.id)
        async for versions in in_pieces(self._ctx.store, keys, self._selection.whole.position):
            yield await self._documents([each for each in versions if patient.id in self._selection.patients(each)])

    async def _documents(self, versions: list[Version]) -> _Page:
        found, named = list[bytes](), dict[str, None]()
        windowed = [version for version in versions if self._selection.in_window(version)]
        for type in dict.fromkeys(version.type for version in windowed):
            kept = await self._selection.kept([version for version in windowed if version.type == type])
            named.update(
                dict.fromkeys(patients_of((each.body for each in kept if each.body is not None), self._ctx.settings.bases))
            )
            found += [data for version in kept if (data := self._shapes[type](version)) is not None]
        return _Page(found, tuple(named))

    async def _keys(self, patient: str) -> list[Key]:
        """What is, or was at the snapshot, in a patient's compartment."""
        found: dict[Key, None] = {}
        async for keys in found_in_turn(self._ctx, [compartment_query(self._ctx, type, patient) for type in self._types]):
            found.update(dict.fromkeys(keys))
        await self._follow()  # after the search: what has left the compartment before it is among the changes
        found.update((Key(type, id), None) for type, _, id in (name.partition("/") for name in self._changed.of(patient)))
        return sorted(found, key=lambda key: (key.type, key.id))

    async def _follow(self) -> None:
        """Take in what was changed since the snapshot: by the patients in whose compartments it was then."""
        async for found in self._since.fresh():
            keys = sorted((key for key in set(found) if _name(key) not in self._known), key=_name)
            self._known.update(map(_name, keys))
            async for versions in in_pieces(self._ctx.store, keys, self._selection.whole.position):
                for version in versions:
                    for patient in self._selection.patients(version):
                        self._changed.add(patient, f"{version.type}/{version.id}")


def _name(key: Key) -> str:
    return f"{key.type}/{key.id}"
