"""The consents of all patients, and who stands for which organization, followed as they change in the store."""

import asyncio
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fhir_server.access.consents import ROLES, OptOut, local, period_of, read_consent
from fhir_server.access.decision import Decision, Letter
from fhir_server.access.granting import PATIENT
from fhir_server.access.opting_out import CONSENTS, kept_from, narrowed
from fhir_server.access.purposes import wider
from resources.documents import decode
from resources.instants import now
from resources.store import ResourceStore
from search.values import BEGIN, END
from smart_auth.access import Access

CHECKED = 0.5
"""Seconds for which a process does not ask the store again: what another one wrote counts within a second."""

MOST_CONSENTS = 100
"""Consents of one patient that deny something now, or did or will; with more the whole record is denied."""

_PAGE = 500
_SECOND = 1_000_000
_MOST_DECISIONS = 1_000

_SEEING: Sequence[Letter] = ("r", "s")
_CHANGING: Sequence[Letter] = ("r", "s", "u", "d")


class Followed:
    """What the current resources of one type say. `read` makes something of one; None for what says nothing."""

    def __init__(self, store: ResourceStore, type: str, read: Callable[[Mapping[str, Any]], Any]) -> None:
        self._store, self._type, self._read = store, type, read
        self._position = -1
        self._checked = float("-inf")
        self._lock = asyncio.Lock()
        self.known: dict[str, Any] = {}

    async def refresh(self) -> bool:
        """Take in what changed since the last time; whether anything did. Raises StoreUnavailable: what is not known must not be
        guessed."""
        if time.monotonic() - self._checked < CHECKED:
            return False
        async with self._lock:
            if time.monotonic() - self._checked < CHECKED:
                return False
            began = time.monotonic()
            changed = await (self._changes() if self._position >= 0 else self._everything())
            self._checked = began
            return changed

    async def _everything(self) -> bool:
        until = await self._store.position()
        known: dict[str, Any] = {}
        async for versions in self._store.scan((self._type,), until=until):
            for version in versions:
                self._take(known, version.id, version.body)
        self.known, self._position = known, until
        return True

    async def _changes(self) -> bool:
        [newest] = await self._store.newest((self._type,))
        if newest <= self._position:
            return False
        seen, place = dict[str, bytes | None](), None
        while True:
            page = await self._store.history(self._type, None, before=place, limit=_PAGE)
            fresh = [version for version in page.versions if version.position > self._position]
            for version in fresh:
                seen.setdefault(version.id, version.body)
                newest = max(newest, version.position)
            if len(fresh) < len(page.versions) or page.next is None:
                break
            place = page.next
        for id, body in seen.items():
            self._take(self.known, id, body)
        self._position = newest
        return True

    def _take(self, known: dict[str, Any], id: str, body: bytes | None) -> None:
        said = self._read(decode(body)) if body is not None else None
        if said is None:
            known.pop(id, None)
        else:
            known[id] = said


class Consents:
    """Narrows decisions by the consents in `store`. `bases` are the URLs that mean this server. One for the process."""

    def __init__(self, store: ResourceStore, bases: Sequence[str]) -> None:
        self._consents = Followed(store, "Consent", lambda consent: read_consent(consent, bases))
        self._roles = Followed(store, "PractitionerRole", lambda role: _role(role, bases))
        self._decisions: OrderedDict[tuple[bytes, frozenset[str], str], Decision] = OrderedDict()
        self._until = 0
        self._by_role = False
        self._opt_outs: tuple[OptOut, ...] = ()
        self._edges: list[int] = []

    async def narrowed(self, decision: Decision, access: Access, purpose: str, related: Sequence[str] = ()) -> Decision:
        """The decision without what patients keep from this caller, who is these RelatedPersons too, for this purpose. Raises
        StoreUnavailable."""
        if await self._consents.refresh():
            self._opt_outs = _counting(self._consents.known.values())
            self._edges = _edges(self._opt_outs)
            self._by_role = any(actor.partition("/")[0] in ROLES for actor in _actors(self._opt_outs))
            self._decisions.clear()
            self._until = 0
        if not self._opt_outs or (access.role == PATIENT and access.fhir_user.startswith("Patient/")):
            return decision  # patients see their own record, whatever they keep from others
        moment = now()
        actors = await self._who(access, moment) | frozenset(related)
        if moment >= self._until:
            self._decisions.clear()
            place = bisect_right(self._edges, moment)
            self._until = max(self._edges[place], moment + _SECOND) if place < len(self._edges) else 1 << 62
        key = decision.mark, actors, purpose
        known = self._decisions.get(key)
        if known is None:
            # Who stands for a patient, as a parent does, is kept away only by name.
            kept = kept_from(self._opt_outs, actors, wider(purpose), moment, named=access.role == PATIENT)
            if access.role == PATIENT:  # nor can they end the Consents that say so
                kept = {patient: [*each, CONSENTS] for patient, each in kept.items()}
            known = narrowed(decision, kept, _CHANGING if access.role else _SEEING) if kept else decision
            self._decisions[key] = known
            if len(self._decisions) > _MOST_DECISIONS:
                self._decisions.popitem(last=False)
        return known

    async def _who(self, access: Access, moment: int) -> frozenset[str]:
        """The actors that the caller is at this moment: as a user, as a client, by the organizations that they work for."""
        found = {access.fhir_user, f"identifier:{access.client}"}
        if self._by_role and access.fhir_user.startswith("Practitioner"):
            await self._roles.refresh()
            for id, role in self._roles.known.items():
                if access.fhir_user in (role.practitioner, f"PractitionerRole/{id}") and role.start <= moment < role.end:
                    found |= {role.practitioner, role.organization, f"PractitionerRole/{id}"}
        return frozenset(found - {""})


class _Role(NamedTuple):
    """An active PractitionerRole: who (`Practitioner/1`) works for whom (`Organization/1`), from `start` until before `end`."""

    practitioner: str
    organization: str
    start: int
    end: int


def _role(document: Mapping[str, Any], bases: Sequence[str]) -> _Role | None:
    if document.get("active") is False:
        return None
    who, whom = (local(document.get(name, {}).get("reference", ""), bases) for name in ("practitioner", "organization"))
    return _Role(who, whom, *(period_of(document) or (BEGIN, END))) if who else None


def _actors(opt_outs: Sequence[OptOut]) -> set[str]:
    rules = (rule for each in opt_outs for denial in each.denials for rule in (denial.rule, *denial.exceptions))
    return {actor for rule in rules for actor in rule.actors or ()}


def _counting(opt_outs: Iterable[OptOut]) -> tuple[OptOut, ...]:
    """Those of patients who have no more than MOST_CONSENTS; one that denies everything for each of the others."""
    by_patient: dict[str, list[OptOut]] = {}
    for each in opt_outs:
        by_patient.setdefault(each.patient, []).append(each)
    return tuple(
        each
        for patient, found in by_patient.items()
        for each in (found if len(found) <= MOST_CONSENTS else (OptOut(patient, (), beyond=True),))
    )


def _edges(opt_outs: Sequence[OptOut]) -> list[int]:
    """The moments at which a rule begins or ends to count, in their order."""
    rules = (rule for each in opt_outs for denial in each.denials for rule in (denial.rule, *denial.exceptions))
    return sorted({edge for rule in rules for edge in (rule.start, rule.end)})
