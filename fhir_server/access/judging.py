"""Whether a document is within reach, told from its own bytes: what it said then counts, not what an index has of it now."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fhir_server.access.consents import local
from fhir_server.access.decision import Reach, is_whole
from fhir_server.access.types import BY_PATIENT
from resources.ids import valid_id
from resources.store import Key, Version
from search.compartments import linking
from search.extract import Extractor, Plan, entry_of
from search.match import Document, allows
from search.parameters import Parameters
from search.query import Compartment, Grant, Grants, Modifier
from search.values import ReferenceValue

_MOST_PLANS = 10_000

Read = Callable[[bytes], dict[str, Any]]


class _Reference(msgspec.Struct):
    reference: str = ""


class _Held(msgspec.Struct, rename="camel"):
    security_context: _Reference = msgspec.field(default_factory=_Reference)


_read_held = msgspec.json.Decoder(_Held).decode


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges documents by grants. Of a document only those members are decoded that the grants look at."""

    extractor: Extractor
    parameters: Parameters
    _plans: dict[tuple[str, frozenset[str]], tuple[Plan, Read]] = field(default_factory=dict)

    def within(self, reach: Reach | None, version: Version) -> bool:
        """Whether a version that is no deletion is within reach."""
        assert version.body is not None
        return self.document_within(reach, version.type, version.id, version.body, version.instant)

    def document_within(self, reach: Reach | None, type: str, id: str, body: bytes, instant: int) -> bool:
        """The same of a document's bytes, stored or to be stored at `instant` (microseconds since the epoch)."""
        if reach is None:
            return True
        grants = reach.of(type)
        if not grants:
            return False
        for grant in grants:
            if is_whole(grant):
                return True
            own = grant.compartment is not None and type == "Patient" and grant.compartment.patient == id
            if own and not grant.clauses and not grant.without and not grant.free:
                return True
        return allows((), grants, self._document(grants, type, id, body, instant))

    def other_records(self, reach: Reach, type: str, id: str, body: bytes, instant: int) -> set[str]:
        """The patients in whose records a document lies beside those of the grants; none where a grant is bound to no record."""
        grants = reach.of(type)
        mine = [_records(grant) for grant in grants if not grant.free]
        if not mine or not all(mine):
            return set()
        entry = self._document(grants, type, id, body, instant).entry
        return {*entry.patients, *_patients(entry.values.get("patient", ()) if type in BY_PATIENT else ())}.difference(*mine)

    def records(self, type: str, id: str, body: bytes) -> frozenset[str]:
        """The patients in whose compartments a document lies."""
        return frozenset(self._document((Grant(type, Compartment("")),), type, id, body, 0).entry.patients)

    def stand_in(self, binary: bytes) -> Key | None:
        """The resource of this server that stands in for a Binary, given its bytes; None where it names none, or another server's."""
        bases = [base.removesuffix("/") for base in self.extractor.bases]
        type, _, id = local(_read_held(binary).security_context.reference, bases).partition("/")
        return Key(type, id) if valid_id(id) else None

    def _document(self, grants: Grants, type: str, id: str, body: bytes, instant: int) -> Document:
        plan, read = self._reading(grants, type)
        return Document(Key(type, id), entry_of(plan, type, id, plan.values(read(body))), instant)

    def _reading(self, grants: Grants, type: str) -> tuple[Plan, Read]:
        """What the grants look at in documents of the type."""
        codes = {clause.held for grant in grants for clause in grant.clauses}
        codes |= {clause.parameter.stored for grant in grants for clause in grant.clauses}
        if any(grant.compartment is not None or grant.without or grant.free for grant in grants):
            codes |= set(linking("Patient", type, self.parameters) or ())
        key = type, frozenset(codes)
        reading = self._plans.get(key)
        if reading is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self.extractor.plan(type).only(key[1])
            reading = self._plans[key] = plan, plan.reader()
        return reading


def _records(grant: Grant) -> set[str]:
    """The ids of the patients to whose records a grant is bound, by a compartment or, outside of it, by a clause."""
    if grant.compartment is not None:
        return {grant.compartment.patient}
    about = [each for each in grant.clauses if each.parameter.code == "patient" and each.modifier == Modifier.NONE]
    return _patients(term.value for clause in about for term in clause.terms) if grant.type in BY_PATIENT else set()


def _patients(values: Iterable[object]) -> set[str]:
    names = (each.target.partition("/") for each in values if isinstance(each, ReferenceValue))
    return {id for type, _, id in names if type == "Patient"}
