"""The consents of all patients, and who stands for which organization, followed as they change in the store."""

import asyncio
import time
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from fhir_server.access.consents import ROLES, Denial, OptOut, Rule, local, period_of, read_consent
from fhir_server.access.decision import Decision, Letter
from fhir_server.access.granting import PATIENT
from fhir_server.access.opting_out import CONSENTS, Alike, Kept, kept_from, narrowed
from fhir_server.access.own import Own
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

MOST_OF_PATIENT = 2_000
"""What all of these say together, in provisions and what these name; with more the whole record is denied."""

ADMIN = "admin"
"""The role of those who undo, beside the patient, what a Consent keeps."""

_PAGE = 500
_SECOND = 1_000_000
_MOST_DECISIONS = 1_000

Changes = Sequence[tuple[str, Any, Any]]
"""Ids of resources, what they said before, and what they say now (None: nothing)."""

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

    async def refresh(self) -> Changes:
        """Take in what changed since the last time: what is said otherwise now. Raises StoreUnavailable: what is not known must not be
        guessed. Whoever is given the changes has to take them in before anything else is awaited."""
        if time.monotonic() - self._checked < CHECKED:
            return ()
        async with self._lock:
            if time.monotonic() - self._checked < CHECKED:
                return ()
            began = time.monotonic()
            changed = await (self._changes() if self._position >= 0 else self._everything())
            self._checked = began
            return changed

    async def _everything(self) -> Changes:
        until = await self._store.position()
        known: dict[str, Any] = {}
        async for versions in self._store.scan((self._type,), until=until):
            for version in versions:
                said = self._said(version.body)
                if said is not None:
                    known[version.id] = said
        self.known, self._position = known, until
        return [(id, None, said) for id, said in known.items()]

    async def _changes(self) -> Changes:
        [newest] = await self._store.newest((self._type,))
        if newest <= self._position:
            return ()
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
        read = [(id, self.known.get(id), self._said(body)) for id, body in seen.items()]
        changes = [(id, before, said) for id, before, said in read if said != before]
        for id, _, said in changes:
            if said is None:
                del self.known[id]
            else:
                self.known[id] = said
        self._position = newest
        return changes

    def _said(self, body: bytes | None) -> Any:
        return self._read(decode(body)) if body is not None else None


class Standing:
    """All that patients deny, those together who deny the same. What a change costs depends on the patient whose Consent it is, and not on
    how many others there are."""

    def __init__(self) -> None:
        self._consents: dict[str, dict[str, OptOut]] = {}
        self._of: dict[str, list[Alike]] = {}
        self._alike: dict[tuple[bool, tuple[Denial, ...]], Alike] = {}
        self._to_all: dict[Alike, None] = {}
        self._by_actor: dict[str, dict[Alike, None]] = {}
        self._edges: list[int] = []
        self._by_role = 0

    def __bool__(self) -> bool:
        return bool(self._alike)

    @property
    def by_role(self) -> bool:
        """Whether any rule names whom PractitionerRoles tell."""
        return self._by_role > 0

    def take(self, changes: Changes) -> None:
        """Take in Consents that say something else now (id, OptOut of before, OptOut; None: nothing)."""
        touched: dict[str, None] = {}
        for id, before, after in changes:
            if before is not None:
                self._consents[before.patient].pop(id)
                touched[before.patient] = None
            if after is not None:
                self._consents.setdefault(after.patient, {})[id] = after
                touched[after.patient] = None
        for patient in touched:
            self._recount(patient)

    def of(self, actors: Iterable[str]) -> Iterable[Alike]:
        """Those whose denials can count for somebody who is all of `actors`."""
        return dict.fromkeys(chain(self._to_all, *(self._by_actor.get(actor, ()) for actor in actors)))

    def next_edge(self, moment: int) -> int | None:
        """The first moment after this one at which a rule begins or ends to count."""
        place = bisect_right(self._edges, moment)
        return self._edges[place] if place < len(self._edges) else None

    def _recount(self, patient: str) -> None:
        for alike in self._of.pop(patient, ()):
            self._leave(alike, patient)
        found = list(self._consents[patient].values())
        if not found:
            del self._consents[patient]
        elif len(found) > MOST_CONSENTS or sum(each.said for each in found) > MOST_OF_PATIENT:
            self._join(patient, True, ())
        for each in found if patient not in self._of else ():
            self._join(patient, each.beyond, each.denials)

    def _join(self, patient: str, beyond: bool, denials: tuple[Denial, ...]) -> None:
        alike = self._alike.get((beyond, denials))
        if alike is None:
            alike = self._alike[beyond, denials] = Alike(denials, beyond, {})
            for places in self._places(alike):
                places[alike] = None
            for edge in _edges(denials):
                insort(self._edges, edge)
            self._by_role += _by_role(denials)
        alike.patients[patient] = alike.patients.get(patient, 0) + 1
        self._of.setdefault(patient, []).append(alike)

    def _leave(self, alike: Alike, patient: str) -> None:
        alike.patients[patient] -= 1
        if not alike.patients[patient]:
            del alike.patients[patient]
        if alike.patients:
            return
        del self._alike[alike.beyond, alike.denials]
        for places in self._places(alike):
            del places[alike]
        for edge in _edges(alike.denials):
            del self._edges[bisect_left(self._edges, edge)]
        self._by_role -= _by_role(alike.denials)
        for actor in _actors(alike.denials):
            if not self._by_actor.get(actor, True):
                del self._by_actor[actor]

    def _places(self, alike: Alike) -> Iterable[dict[Alike, None]]:
        """Where it is looked for."""
        if alike.beyond or any(denial.rule.actors is None for denial in alike.denials):
            return (self._to_all,)
        return [self._by_actor.setdefault(actor, {}) for actor in _actors(alike.denials)]


class Consents:
    """Narrows decisions by the consents in `store`. `bases` are the URLs that mean this server. One for the process."""

    def __init__(self, store: ResourceStore, bases: Sequence[str]) -> None:
        self._consents = Followed(store, "Consent", lambda consent: read_consent(consent, bases))
        self._roles = Followed(store, "PractitionerRole", lambda role: _role(role, bases))
        self._work: dict[str, dict[str, None]] = {}
        self._decisions: OrderedDict[tuple[bytes, frozenset[str], str], Decision] = OrderedDict()
        self._until = 0
        self._standing = Standing()

    async def narrowed(self, decision: Decision, access: Access, purpose: str, own: Own) -> Decision:
        """The decision without what patients keep from this caller, who is all that `own` names too, for this purpose. Raises
        StoreUnavailable."""
        if changes := await self._consents.refresh():
            self._standing.take(changes)
            self._decisions.clear()
            self._until = 0
        if not self._standing or (access.role == PATIENT and access.fhir_user.startswith("Patient/")):
            return decision  # patients see their own record, whatever they keep from others
        moment = now()
        actors = await self._who(access, moment) | frozenset(own.names)
        if moment >= self._until:
            self._decisions.clear()
            edge = self._standing.next_edge(moment)
            self._until = max(edge, moment + _SECOND) if edge is not None else 1 << 62
        key = decision.mark, actors, purpose
        known = self._decisions.get(key)
        if known is None:
            kept = self._kept(access, actors, purpose, moment, own)
            exempt = ("Consent",) if access.role == ADMIN else ()  # who is to end a Consent that hides the record must find it
            known = narrowed(decision, kept, _CHANGING if access.role else _SEEING, exempt) if kept else decision
            self._decisions[key] = known
            if len(self._decisions) > _MOST_DECISIONS:
                self._decisions.popitem(last=False)
        return known

    def _kept(self, access: Access, actors: frozenset[str], purpose: str, moment: int, own: Own) -> Mapping[str, tuple[Kept, ...]]:
        """Patient -> what is kept from the caller."""
        if access.role != PATIENT:
            return kept_from(self._standing.of(actors), actors, wider(purpose), moment)
        # Who stands for a patient, as a parent does, is kept away only by name, and cannot end the Consents that say so.
        kept = kept_from(self._standing.of(actors), actors, wider(purpose), moment, named=True)
        return {patient: (*each, CONSENTS) for patient, each in kept.items() if f"Patient/{patient}" not in own.names}

    async def _who(self, access: Access, moment: int) -> frozenset[str]:
        """The actors that the caller is at this moment: as a user, as a client, by the organizations that they work for."""
        me = access.fhir_user
        found = {me, f"identifier:{access.client}"}
        if self._standing.by_role and me.startswith("Practitioner"):
            for id, before, after in await self._roles.refresh():
                if before is not None:
                    del self._work[before.practitioner][id]
                if after is not None:
                    self._work.setdefault(after.practitioner, {})[id] = None
            for id in (*self._work.get(me, ()), me.removeprefix("PractitionerRole/")):
                role = self._roles.known.get(id)
                if role is not None and role.start <= moment < role.end and me in (role.practitioner, f"PractitionerRole/{id}"):
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


def _actors(denials: Iterable[Denial]) -> set[str]:
    """Whom the denials themselves name."""
    return {actor for denial in denials for actor in denial.rule.actors or ()}


def _by_role(denials: Iterable[Denial]) -> bool:
    """Whether any rule names whom PractitionerRoles tell."""
    return any(actor.partition("/")[0] in ROLES for rule in _rules(denials) for actor in rule.actors or ())


def _edges(denials: Iterable[Denial]) -> Iterable[int]:
    """The moments at which a rule begins or ends to count, those without a beginning or an end left out."""
    return {edge for rule in _rules(denials) for edge in (rule.start, rule.end)} - {BEGIN, END}


def _rules(denials: Iterable[Denial]) -> Iterable[Rule]:
    return (rule for denial in denials for rule in (denial.rule, *denial.exceptions))
