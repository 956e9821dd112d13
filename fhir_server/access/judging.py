"""Whether a document is within reach, told from its own bytes: what it said then counts, not what an index has of it now."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from fhir_server.access.decision import Reach, is_whole
from fhir_server.access.types import BY_PATIENT
from resources.documents import decode
from resources.store import Key, Version
from search.compartments import linking
from search.extract import Extractor, Plan, entry_of, take
from search.match import Document, allows
from search.parameters import Parameters
from search.query import Grant, Grants, Modifier
from search.values import ReferenceValue, Value

_MOST_PLANS = 10_000

Read = Callable[[bytes], dict[str, Any]]


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

    def _document(self, grants: Grants, type: str, id: str, body: bytes, instant: int) -> Document:
        plan, read = self._reading(grants, type)
        values: dict[str, list[Value]] = {}
        document = read(body)
        for key, steps in plan.by_key.items():
            if key in document:
                take(steps, document, values)
        if plan.always:
            take(plan.always, document, values)
        return Document(Key(type, id), entry_of(plan, type, id, values), instant)

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
            reading = self._plans[key] = plan, decode if plan.always else _reader(tuple(plan.by_key))
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


def _reader(members: tuple[str, ...]) -> Read:
    """What decodes these members of a document, and passes over the others."""
    names = [name for member in members for name in (member, f"_{member}")]
    fields = {f"m{number}": name for number, name in enumerate(names)}
    shape = msgspec.defstruct("Part", [(field, Any, msgspec.UNSET) for field in fields], rename=fields, gc=False)
    parse = msgspec.json.Decoder(shape, float_hook=Decimal).decode

    def read(body: bytes) -> dict[str, Any]:
        part = parse(body)
        return {name: value for field, name in fields.items() if (value := getattr(part, field)) is not msgspec.UNSET}

    return read
