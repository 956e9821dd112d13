"""An access token's scopes as a Decision: what the client was granted, within what the user's role may ever do.

`patient/` scopes reach the record of the patient in context; `user/` scopes of a patient (or of someone who stands for one) that
patient's own record, those of the other roles what the table in `smart_auth/roles.py` says; `system/` scopes everything of their types.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from fhir_server.access.decision import Decision, GrantsByType, Letter, Reach, is_whole
from fhir_server.access.narrowing import Bases, CannotNarrow, clauses_of
from fhir_server.access.types import (
    ADMINISTRATION,
    AUDITORS,
    BY_PATIENT,
    FREE,
    OF_AUDITORS,
    SHARED,
    WRITTEN_BY,
)
from resources.ids import valid_id
from search.compartments import linking
from search.parameters import registry
from search.query import Clause, Compartment, Grant, Grants
from smart_auth.access import Access
from smart_auth.roles import most
from smart_auth.scopes import ResourceScope, Scopes, parse_scopes

PATIENT = "patient"
"""The role of those who see a record of their own only."""

_READING = frozenset("rs")


@dataclass(frozen=True, slots=True)
class _Token:
    """What grants are made of."""

    scopes: tuple[ResourceScope, ...]
    role: str
    limits: Scopes
    patient: str
    own: tuple[str, ...]
    itself: str
    base_url: Bases


def decision_of(access: Access, own: tuple[str, ...], base_url: Bases, purpose: str = "") -> Decision:
    """What the token allows. `own` are the ids of the Patients whose records are the user's own, for users of the role PATIENT;
    decisions for different purposes have different marks."""
    return _decision(access.scopes, access.role, access.patient, access.fhir_user, own, base_url, purpose)


@lru_cache(maxsize=4096)
def _decision(
    scopes: str, role: str, patient: str, fhir_user: str, own: tuple[str, ...], base_url: Bases, purpose: str
) -> Decision:
    asked = parse_scopes(scopes)
    itself = fhir_user if {"openid", "fhirUser"} <= set(asked.words) else ""
    token = _Token(asked.resources, role, _limits(role), patient, own, itself, base_url)
    definitions = (*_found(token, "u", ADMINISTRATION), *_found(token, "c", ADMINISTRATION))
    return Decision(
        create=_reach(token, "c"),
        read=_reach(token, "r"),
        update=_reach(token, "u"),
        delete=_reach(token, "d"),
        search=_reach(token, "s"),
        administers=any(is_whole(grant) for grant in definitions),
        mark=_mark(scopes, role, patient, fhir_user, purpose, *own),
        scope="patient" if patient else "user" if role else "system",
    )


def _mark(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _reach(token: _Token, letter: Letter) -> Reach | None:
    """None where every document of every type is within reach."""
    if not token.role and any(each.level == "system" and each.type == "*" and letter in each.letters for each in token.scopes):
        return None
    named = {each.type for each in token.scopes}
    possible = registry().types if "*" in named else (*named, *([token.itself.partition("/")[0]] if token.itself else []))
    return Reach(GrantsByType(lambda: possible, lambda type: _found(token, letter, type)))


def _found(token: _Token, letter: Letter, type: str) -> Grants:
    """The grants that a letter gives of a type: each once; one that holds for everything alone."""
    found: dict[Grant, None] = {}
    for scope in token.scopes:
        if scope.type in ("*", type) and type in registry().types and _may(scope, type, letter, token):
            found.update(dict.fromkeys(_grants(scope, type, letter, token)))
    if letter == "r":
        found.update(dict.fromkeys(_self(type, token)))
    return next(((grant,) for grant in found if is_whole(grant)), tuple(found))


def _limits(role: str) -> Scopes:
    """The most that the role may do; nothing for a role that is unknown."""
    try:
        return most(role) if role else Scopes()
    except KeyError:
        return Scopes()


def _may(scope: ResourceScope, type: str, letter: Letter, token: _Token) -> bool:
    """Whether the scope has the letter, and whoever has the role may have it of the type."""
    if letter not in scope.letters or (scope.level == "system" and token.role):  # a user is no system
        return False
    if scope.level == "system":
        return True
    if type == OF_AUDITORS and token.role not in AUDITORS:
        return False
    if not _writes(scope, type, letter, token):
        return False
    # A client of its own that was given a patient's record (on the command line) has no role that would limit it.
    free = scope.level == "patient" and not token.role
    return free or token.limits.cover(ResourceScope(scope.level, type, letter))


def _writes(scope: ResourceScope, type: str, letter: Letter, token: _Token) -> bool:
    """Whether this is no writing, or that of somebody who may write what decides who may see what."""
    role = token.role or PATIENT  # a client that was given a patient's record stands for that patient
    return all(
        role in writers.roles and (writers.record or scope.level != "patient")
        for writers in WRITTEN_BY.get(type, ())
        if letter in writers.letters
    )


def _grants(scope: ResourceScope, type: str, letter: Letter, token: _Token) -> Iterator[Grant]:
    try:
        clauses = clauses_of(type, scope.narrowed, token.base_url) if scope.narrowed else ()
    except CannotNarrow:  # such a scope is never given out; what came from elsewhere gives nothing
        return
    if scope.level == "system" or (scope.level == "user" and token.role != PATIENT):
        yield Grant(type, None, clauses)
        return
    records = token.own if scope.level == "user" else (token.patient,) if token.patient else ()
    for record in records:
        if valid_id(record) and (token.role != PATIENT or record in token.own):
            yield from _of_record(record, type, letter, clauses, token.base_url)


def _of_record(record: str, type: str, letter: Letter, clauses: tuple[Clause, ...], base_url: Bases) -> Iterator[Grant]:
    """What a patient's record has of a type (`fhir_server/access/types.py`)."""
    if type == "Patient" and letter not in _READING:  # the others of its compartment only link to it
        yield Grant(type, Compartment(record), (*clauses_of(type, (("_id", record),), base_url), *clauses))
    elif type == "Patient" or linking("Patient", type, registry()):
        yield Grant(type, Compartment(record), clauses)
        if type == FREE and letter in _READING:
            yield Grant(type, None, clauses, free=True)
    elif type in BY_PATIENT:
        yield Grant(type, None, (*clauses_of(type, (("patient", f"Patient/{record}"),), base_url), *clauses))
    elif type in SHARED and letter in _READING:
        yield Grant(type, None, clauses)


def _self(type: str, token: _Token) -> Iterator[Grant]:
    """Users read the resource that stands for them: `openid fhirUser` is permission to retrieve information about the current user."""
    kind, _, id = token.itself.partition("/")
    if valid_id(id) and kind == type in ("Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person"):
        yield Grant(type, None, clauses_of(type, (("_id", id),), token.base_url))
