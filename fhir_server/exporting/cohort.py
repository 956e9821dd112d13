"""Whose records are exported at the levels of Patient and Group: everybody's, or those of a cohort that is settled when the export is
planned.

The ids lie in a file of the job, one a line, which is not handed out: there may be hundreds of thousands.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from itertools import islice

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.asked import Asked
from fhir_server.exporting.given import Given, Notes
from fhir_server.exporting.members import Members, group_store, read_group
from fhir_server.files.contract import Files
from fhir_server.jobs.work import Task
from fhir_server.messages import Identity
from resources.names import Names
from resources.outcomes import counted
from resources.store import Key

NAME = "cohort"
_AT_ONCE = 500
_WRITTEN, _PIECE = 10_000, 65_536


async def checked_patients(ctx: Context, who: Identity, asked: Asked, now: int) -> Asked:
    """What is asked for with those of its patients that there are, and that are in the Group. Raises FhirError 404 or 410 where the
    Group is not there, 400 for others where the caller is not lenient."""
    groups = await group_store(ctx, who) if asked.level == "group" else ctx.store
    if asked.level == "group":
        await read_group(groups, asked.group)
    if asked.patients is None:
        return asked
    there = await _living(ctx, asked.patients)
    if asked.level == "group":
        members = await Members(ctx, groups, asked.base, now).of(asked.group)
        there = {id for id in there if id in members}
    missing = [id for id in asked.patients if id not in there]
    given = Given(asked.lenient, notes=Notes(asked.notes))
    if missing:
        where = f"in Group/{asked.group}" if asked.level == "group" else "here"
        some = ", ".join(f"Patient/{id}" for id in missing[:10])
        absent = f"{counted(len(missing), 'Patient')} that {'is' if len(missing) == 1 else 'are'} not {where}"
        given.pass_over("patient", f"patient names {absent}: {some}", "not-found")
    return msgspec.structs.replace(asked, patients=tuple(id for id in asked.patients if id in there), notes=tuple(given.notes))


async def _living(ctx: Context, ids: tuple[str, ...]) -> set[str]:
    found = set[str]()
    for start in range(0, len(ids), _AT_ONCE):
        keys = [Key("Patient", id) for id in ids[start : start + _AT_ONCE]]
        found.update(v.id for v in await ctx.store.read_many(keys) if v is not None and v.body is not None)
    return found


async def cohort_of(ctx: Context, who: Identity, asked: Asked, now: int) -> tuple[AbstractSet[str] | None, list[str]]:
    """The ids of the patients (None: all), and what was left out. Raises FhirError as `Members.of`."""
    if asked.level != "group":
        return (None if asked.patients is None else set(asked.patients)), []
    members = Members(ctx, await group_store(ctx, who), asked.base, now)
    found = await members.of(asked.group)
    return (found if asked.patients is None else found & set(asked.patients)), members.notes


async def keep_cohort(task: Task, ids: AbstractSet[str]) -> None:
    """Write the file."""
    async with task.files.writing(f"{task.job.id}/{NAME}", "text/plain") as file:
        rest = iter(ids)
        while some := list(islice(rest, _WRITTEN)):
            await file.write("".join(f"{id}\n" for id in some).encode())


async def kept_cohort(files: Files, job: str) -> Names:
    """What the file says."""
    found = Names()
    async for lines in lines_of(files, f"{job}/{NAME}"):
        found.update(lines)
        await asyncio.sleep(0)  # others have their turn
    return found


async def lines_of(files: Files, name: str) -> AsyncIterator[list[str]]:
    """The lines of a file of short ones, some thousands at a time."""
    rest = b""
    async for piece in files.reading(name):
        for start in range(0, len(piece), _PIECE):
            *lines, rest = (rest + piece[start : start + _PIECE]).split(b"\n")
            yield [line.decode() for line in lines]
    if rest:
        yield [rest.decode()]
