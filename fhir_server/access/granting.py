"""An access token's scopes as a Decision: what the client was granted, within what the user's role may ever do.

`patient/` scopes reach the record of the patient in context; `user/` scopes of a patient (or of someone who stands for one) that
patient's own record, those of the other roles what the table in `smart_auth/roles.py` says; `system/` scopes everything of their types.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b

from fhir_server.access.decision import LETTERS, Decision, Letter, Reach, is_whole
from fhir_server.access.narrowing import Bases, CannotNarrow, clauses_of
from fhir_server.access.types import (
    ADMINISTRATION,
    ADMINISTRATORS,
    AUDITORS,
    BY_PATIENT,
    FREE,
    OF_AUDITORS,
    SHARED,
)
from search.compartments import linking
from search.parameters import registry
from search.query import Clause, Compartment, Grant, Grants
from smart_auth.access import Access
from smart_auth.roles import most
from smart_auth.scopes import ResourceScope, Scopes, parse_scopes

PATIENT = "patient"
"""The role of those who see a record of their own only."""

_READING = frozenset("rs")

Found = dict[Letter, dict[str, list[Grant]]]


def decision_of(access: Access, own: tuple[str, ...], base_url: Bases) -> Decision:
    """What the token allows. `own` are the ids of the Patients whose records are the user's own, for users of the role PATIENT."""
    return _decision(access.scopes, access.role, access.patient, access.fhir_user, own, base_url)


@lru_cache(maxsize=4096)
def _decision(scopes: str, role: str, patient: str, fhir_user: str, own: tuple[str, ...], base_url: Bases) -> Decision:
    found: Found = {letter: {} for letter in LETTERS}
    asked = parse_scopes(scopes)
    limits = _limits(role)
    for scope in asked.resources:
        for type in _types(scope):
            for letter in _letters(scope, type, role, limits):
                grants = _grants(scope, type, letter, role, patient, own, base_url)
                found[letter].setdefault(type, []).extend(grants)
    if {"openid", "fhirUser"} <= set(asked.words):
        _self(found, fhir_user, base_url)
    reaches = {letter: _reach(by_type) for letter, by_type in found.items()}
    definitions = found["u"].get(ADMINISTRATION, ()), found["c"].get(ADMINISTRATION, ())
    return Decision(
        create=reaches["c"],
        read=reaches["r"],
        update=reaches["u"],
        delete=reaches["d"],
        search=reaches["s"],
        administers=any(is_whole(grant) for grants in definitions for grant in grants),
        mark=blake2b("\0".join((scopes, role, patient, fhir_user, *own)).encode("utf-8", "surrogatepass"), digest_size=16).digest(),
        scope="patient" if patient else "user" if role else "system",
    )


def _reach(by_type: Mapping[str, list[Grant]]) -> Reach | None:
    """None where every document of every type is within reach."""
    reach = Reach({type: _needed(grants) for type, grants in by_type.items() if grants})
    return None if all(reach.whole(type) for type in registry().types) else reach


def _needed(grants: Iterable[Grant]) -> Grants:
    """Each once; one that holds for everything alone."""
    distinct = tuple(dict.fromkeys(grants))
    return next(((grant,) for grant in distinct if is_whole(grant)), distinct)


def _types(scope: ResourceScope) -> tuple[str, ...]:
    types = registry().types
    return types if scope.type == "*" else (scope.type,) if scope.type in types else ()


def _limits(role: str) -> Scopes:
    """The most that the role may do; nothing for a role that is unknown."""
    try:
        return most(role) if role else Scopes()
    except KeyError:
        return Scopes()


def _letters(scope: ResourceScope, type: str, role: str, limits: Scopes) -> Iterator[Letter]:
    """The scope's letters that whoever has the role may have of the type."""
    for letter in LETTERS:
        if letter not in scope.letters or (scope.level == "system" and role):  # a user is no system
            continue
        if scope.level != "system":
            if type == OF_AUDITORS and role not in AUDITORS:
                continue
            if type == ADMINISTRATION and letter not in _READING and role not in ADMINISTRATORS:
                continue
            # A client of its own that was given a patient's record (on the command line) has no role that would limit it.
            free = scope.level == "patient" and not role
            if not free and not limits.cover(ResourceScope(scope.level, type, letter)):
                continue
        yield letter


def _grants(
    scope: ResourceScope, type: str, letter: Letter, role: str, patient: str, own: tuple[str, ...], base_url: Bases
) -> Iterator[Grant]:
    try:
        clauses = clauses_of(type, scope.narrowed, base_url) if scope.narrowed else ()
    except CannotNarrow:  # such a scope is never given out; what came from elsewhere gives nothing
        return
    if scope.level == "system" or (scope.level == "user" and role != PATIENT):
        yield Grant(type, None, clauses)
        return
    records = own if scope.level == "user" else (patient,) if patient else ()
    for record in records:
        if role == PATIENT and record not in own:
            continue
        yield from _of_record(record, type, letter, clauses, base_url)


def _of_record(record: str, type: str, letter: Letter, clauses: tuple[Clause, ...], base_url: Bases) -> Iterator[Grant]:
    """What a patient's record has of a type (`fhir_server/access/types.py`)."""
    if type == "Patient" or linking("Patient", type, registry()):
        yield Grant(type, Compartment(record), clauses)
        if type == FREE and letter in _READING:
            yield Grant(type, None, clauses, free=True)
    elif type in BY_PATIENT:
        yield Grant(type, None, (*clauses_of(type, (("patient", f"Patient/{record}"),), base_url), *clauses))
    elif type in SHARED and letter in _READING:
        yield Grant(type, None, clauses)


def _self(found: Found, fhir_user: str, base_url: Bases) -> None:
    """Users read the resource that stands for them: `openid fhirUser` is permission to retrieve information about the current user."""
    type, _, id = fhir_user.partition("/")
    if type in ("Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person") and id:
        found["r"].setdefault(type, []).append(Grant(type, None, clauses_of(type, (("_id", id),), base_url)))
