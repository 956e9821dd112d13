"""Whose record is a user's own."""

from typing import Any

from resources.documents import decode
from resources.ids import valid_id
from resources.instants import now
from resources.store import ResourceStore
from search.types.date import interval

MOST_LINKS = 20
"""Links of a Person that count."""


async def own_patients(store: ResourceStore, fhir_user: str) -> tuple[str, ...]:
    """The ids of the Patients whose records are the user's own, who is `fhir_user`: a Patient; a RelatedPerson of one, as long as that is
    active and its period lasts; or a Person who links to such. Empty for anybody else. Raises StoreUnavailable."""
    if not fhir_user.startswith("Person/"):
        return await _of(store, fhir_user)
    person = await _document(store, fhir_user)
    links = person.get("link", ())[:MOST_LINKS] if person.get("active") is not False else ()
    found = [each for link in links for each in await _of(store, _reference(link.get("target")))]
    return tuple(dict.fromkeys(found))


async def _of(store: ResourceStore, reference: str) -> tuple[str, ...]:
    type, _, id = reference.partition("/")
    if type == "Patient":
        return (id,) if valid_id(id) else ()
    if type != "RelatedPerson":
        return ()
    document = await _document(store, reference)
    kind, _, patient = _reference(document.get("patient")).partition("/")
    stands = document.get("active") is not False and _lasts(document.get("period", {}))
    return (patient,) if kind == "Patient" and valid_id(patient) and stands else ()


def _lasts(period: dict[str, Any]) -> bool:
    """Whether it is now within the period; not within one that cannot be understood."""
    start, end = (interval(str(period[name])) if name in period else None for name in ("start", "end"))
    if ("start" in period and start is None) or ("end" in period and end is None):
        return False
    moment = now()
    return (start is None or start.low <= moment) and (end is None or moment < end.high)


async def _document(store: ResourceStore, reference: str) -> dict[str, Any]:
    """The resource that is there now, else nothing."""
    type, _, id = reference.partition("/")
    version = await store.read(type, id) if valid_id(id) else None
    document: dict[str, Any] = decode(version.body) if version is not None and version.body is not None else {}
    return document


def _reference(value: Any) -> str:
    return str(value.get("reference", "")) if isinstance(value, dict) else ""
