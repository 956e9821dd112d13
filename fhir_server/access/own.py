"""Whose record is a user's own."""

from typing import Any, NamedTuple

from resources.documents import decode
from resources.ids import valid_id
from resources.instants import now
from resources.store import ResourceStore
from search.types.date import interval

MOST_LINKS = 20
"""Links of a Person that count."""


class Own(NamedTuple):
    """`patients`: ids of the Patients whose records are a user's own; `names`: who the user is thereby, a Patient (`Patient/1`) or a
    RelatedPerson of one (`RelatedPerson/1`)."""

    patients: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


async def own_records(store: ResourceStore, fhir_user: str) -> Own:
    """Whose records are the user's own, who is `fhir_user`: a Patient; a RelatedPerson of one, as long as that is active and its period
    lasts; or a Person who links to such. Nobody's for anybody else. Raises StoreUnavailable."""
    names = [fhir_user]
    if fhir_user.startswith("Person/"):
        person = await _document(store, fhir_user)
        links = person.get("link", ())[:MOST_LINKS] if person.get("active") is not False else ()
        names = list(dict.fromkeys(_reference(link.get("target")) for link in links))
    found = {name: await _of(store, name) for name in names}
    names = [name for name, patients in found.items() if patients]
    return Own(tuple(dict.fromkeys(patient for patients in found.values() for patient in patients)), tuple(names))


async def own_patients(store: ResourceStore, fhir_user: str) -> tuple[str, ...]:
    """The ids of the Patients whose records are the user's own. Raises StoreUnavailable."""
    return (await own_records(store, fhir_user)).patients


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
