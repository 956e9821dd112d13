"""Whose documents a view is made of: those in the compartments of patients that are named, or of the members of Groups."""

from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from typing import Literal

from fhir_server.context import Context
from fhir_server.exporting.asked import in_compartment
from fhir_server.exporting.compartments import patients_reader
from fhir_server.exporting.members import Members, group_store
from fhir_server.interactions.answers import present
from fhir_server.messages import Identity
from fhir_server.permission import require
from resources.names import Names
from resources.outcomes import FhirError, Issue
from resources.store import Key, Version

Wanted = Callable[[Version], bool]

_AT_ONCE = 500


async def checked(ctx: Context, patients: Collection[str], *, status: Literal[400, 404]) -> None:
    """Raises FhirError with this status for a patient who is not there, as far as the caller may see, and 403 where that is nobody."""
    ids = tuple(patients)
    if ids:
        require(ctx.decision, "s", "Patient")
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        there = {version.id for version in await present(ctx, [Key("Patient", id) for id in some])}
        if missing := [id for id in some if id not in there]:
            raise FhirError(status, [Issue("error", "not-found", f"Patient/{missing[0][:64]} does not exist", "patient")])


async def cohort_of(
    ctx: Context, who: Identity, patients: Collection[str], groups: Collection[str], base: str, now: int
) -> AbstractSet[str] | None:
    """The ids of the patients that are meant: those named, the members of the Groups (as exports have them), those who are both; None:
    everybody. Raises FhirError 404, 410 or 400 for Groups, 403."""
    if not groups:
        return set(patients) if patients else None
    members, store = Names(), await group_store(ctx, who)
    for id in groups:
        members.update(await Members(ctx, store, base, now).of(id))
    return {id for id in patients if id in members} if patients else members


def wanted_of(ctx: Context, type: str, cohort: AbstractSet[str] | None, *, named: bool) -> Wanted | None:
    """Which (live) versions of a type lie in the compartments of the cohort; None: all do, or the type lies in none.

    Where patients are `named`, what lies in the compartment of another one too is left out, as the specification has it of `patient`.
    """
    if cohort is None or not in_compartment(ctx, type):
        return None
    if type == "Patient":
        return lambda version: version.id in cohort
    read = patients_reader(ctx, type)

    def wanted(version: Version) -> bool:
        assert version.body is not None
        found = read(version.id, version.body)
        return bool(found) and (all(id in cohort for id in found) if named else not cohort.isdisjoint(found))

    return wanted
