"""What patients' consents keep from a caller, taken from what the caller's token allows.

A record that is denied as a whole is left out of a grant by the patient's id (`Grant.without`). One that is denied in part is left out
too, and what remains comes back by a second grant, with clauses: one for all patients who deny the same.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from fhir_server.access.consents import Denial, Part
from fhir_server.access.decision import LETTERS, Decision, GrantsByType, Letter, Reach
from fhir_server.access.types import BINARY, BY_PATIENT, OF_AUDITORS
from search.compartments import linking
from search.parameters import registry
from search.query import Clause, Grant, Grants, Modifier, Term
from search.values import ReferenceValue, TokenValue

MOST_WAYS = 32
"""Ways in which a document may be left by several denials with exceptions; with more the patient's documents of the type are denied."""

MOST_KEPT = 50
"""Denials that count for one patient and caller; with more the whole record is denied."""

MOST_SINGLE = 5_000
"""Single documents of a type that all patients together deny; with more, all documents of the type of these patients are denied."""

MOST_ALIKE = 100
"""Different ways in which patients deny part of a type; beyond that the documents of the type are denied as a whole, or each search
would have to tell them all apart."""

Clauses = tuple[Clause, ...]
Ways = tuple[Clauses, ...]
Shape = tuple["Kept", ...]
"""All that is kept of a record."""
Partly = Mapping[Shape, frozenset[str]]
"""What is kept of records of which the rest is not -> the patients whose records these are."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one patient's record: a part, but for other parts."""

    part: Part
    exceptions: tuple[Part, ...]


EVERYTHING = Kept(Part(), ())
"""The whole record."""

CONSENTS = Kept(Part(frozenset(("Consent",))), ())
"""The patient's Consents."""

_WHOLE: Shape = (EVERYTHING,)


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Patients (an id -> of how many Consents) who deny the same. `beyond`: everything, to everybody else."""

    denials: tuple[Denial, ...]
    beyond: bool
    patients: dict[str, int]


def kept_from(
    alike: Iterable[Alike], actors: frozenset[str], purposes: frozenset[str], now: int, *, named: bool = False
) -> dict[str, Shape]:
    """Patient -> what is kept from a caller who is all of `actors`, at this moment; `named`: only by denials that name actors."""
    found: dict[str, Shape] = {}
    for each in alike:
        if kept := _limited(_kept(each, actors, purposes, now, named)):
            for patient in each.patients:
                before = found.get(patient)
                found[patient] = kept if before is None else _limited(before + kept)
    return found


def _kept(alike: Alike, actors: frozenset[str], purposes: frozenset[str], now: int, named: bool) -> Shape:
    found = []
    for denial in alike.denials:
        rule = denial.rule
        if rule.counts(actors, purposes, now) and not (named and rule.actors is None):
            exceptions = tuple(each.part for each in denial.exceptions if each.counts(actors, purposes, now))
            if not exceptions and rule.part.whole:
                return _WHOLE
            if not any(part.whole for part in exceptions):
                found.append(Kept(rule.part, exceptions))
    return _WHOLE if alike.beyond else tuple(found)


def _limited(kept: Shape) -> Shape:
    return kept if len(kept) <= MOST_KEPT else _WHOLE


def narrowed(decision: Decision, kept: Mapping[str, Shape], letters: Sequence[Letter], exempt: Collection[str] = ()) -> Decision:
    """The decision without what is kept, for these letters; nothing is kept of types that are `exempt`."""
    same: dict[int, tuple[Shape, list[str]]] = {}  # those who deny the same have the same object: it is looked at once
    for patient, each in kept.items():
        same.setdefault(id(each), (each, []))[1].append(patient)
    shapes: dict[Shape, set[str]] = {}
    for each, patients in same.values():
        shape = _WHOLE if any(map(_of_all, each)) else tuple(dict.fromkeys(each))
        shapes.setdefault(shape, set()).update(patients)
    whole = frozenset(shapes.pop(_WHOLE, ()))
    partly = {shape: frozenset(patients) for shape, patients in shapes.items()}
    left = _reach(None, *_of_binaries(whole, partly), exempt)
    found = {
        letter: replace(_reach(decision.letter(letter), whole, partly, exempt), standing_in=left)
        if letter in letters
        else decision.letter(letter)
        for letter in LETTERS
    }
    return replace(decision, create=found["c"], read=found["r"], update=found["u"], delete=found["d"], search=found["s"])


def _of_all(kept: Kept) -> bool:
    return kept.part.whole and not kept.exceptions


def _of_binaries(whole: frozenset[str], partly: Partly) -> tuple[frozenset[str], Partly]:
    """The same for what stands in for Binaries: a part that has these has whatever stands in for them."""
    found: dict[Shape, frozenset[str]] = {}
    for shape, patients in partly.items():
        kept = tuple(Kept(_beside(each.part), tuple(map(_beside, each.exceptions))) for each in shape)
        if any(map(_of_all, kept)):
            whole |= patients
        else:
            found[kept] = found.get(kept, frozenset()) | patients
    return whole, found


def _beside(part: Part) -> Part:
    return replace(part, types=None) if BINARY in (part.types or ()) else part


def _reach(reach: Reach | None, whole: frozenset[str], partly: Partly, exempt: Collection[str]) -> Reach:
    """The reach without what is kept, of each type when it is first asked for."""
    types = registry().types

    def grants(type: str) -> Grants:
        given = reach.of(type) if reach is not None else (Grant(type),) if type in types else ()
        return given if type in exempt else _grants(type, given, whole, partly)

    return Reach(GrantsByType(lambda: types if reach is None else reach.by_type, grants))


def _grants(type: str, grants: Grants, whole: frozenset[str], partly: Partly) -> Grants:
    if type not in BY_PATIENT and (type == OF_AUDITORS or (type != "Patient" and not linking("Patient", type, registry()))):
        return grants  # it is of no patient; and whoever may see the record of accesses sees all of it
    touched: dict[Shape, frozenset[str]] = {}
    for shape, patients in partly.items():
        if of_type := tuple(kept for kept in shape if kept.part.of(type)):
            touched[of_type] = touched.get(of_type, frozenset()) | patients
    closed = whole.union(*touched.values()) if touched else whole
    if not closed:
        return grants
    found = [_apart(grant, type, closed) for grant in grants]
    for ways, patients in _alike(type, touched).items():
        others = closed - patients
        found += [_apart(replace(grant, clauses=(*grant.clauses, *way)), type, others) for way in ways for grant in grants]
    return tuple(found)


def _apart(grant: Grant, type: str, patients: frozenset[str]) -> Grant:
    """The grant without what is these patients'."""
    if not patients:
        return grant
    if type in BY_PATIENT:
        return replace(grant, clauses=(*grant.clauses, _not_about(type, patients)))
    return replace(grant, without=grant.without | patients if grant.without else patients)


def _alike(type: str, touched: Partly) -> dict[Ways, frozenset[str]]:
    """Ways in which documents remain -> the patients for whom it is these: one grant each, however many patients."""
    groups: dict[Ways, frozenset[str]] = {}
    single = {shape: patients for shape, patients in touched.items() if all(_single(kept) for kept in shape)}
    if single:  # ids tell documents apart without the patient
        ids = frozenset(id for shape in single for kept in shape for id in kept.part.ids or ())
        if len(ids) <= MOST_SINGLE:
            groups[_ways(type, [Kept(Part(ids=ids), ())])] = frozenset().union(*single.values())
    for shape, patients in touched.items():
        ways = () if shape in single else _ways(type, shape)
        if ways and (ways in groups or len(groups) < MOST_ALIKE):
            groups[ways] = groups.get(ways, frozenset()) | patients
    return groups


def _single(kept: Kept) -> bool:
    """Whether it is single documents that are kept, and nothing more."""
    return kept.part.ids is not None and not kept.part.labels and not kept.exceptions


def _ways(type: str, kept: Sequence[Kept]) -> Ways:
    """Clauses for documents of the type that nothing of this is kept of: one of the lists must hold; of none, none does."""
    ways = [
        _outside(type, each.part) + [way for part in each.exceptions if part.of(type) for way in _inside(type, part)]
        for each in kept
    ]
    count = 1
    for each in ways:
        count *= len(each)
    return tuple(tuple(dict.fromkeys(sum(way, ()))) for way in product(*ways)) if count <= MOST_WAYS else ()


def _outside(type: str, part: Part) -> list[Clauses]:
    """Not in the part: without its labels, or not one of its documents."""
    labels: list[Clauses] = [(_labelled(type, part, Modifier.NOT),)] if part.labels else []
    return labels + ([(_named(type, part, Modifier.NOT),)] if part.ids is not None else [])


def _inside(type: str, part: Part) -> list[Clauses]:
    labels: Clauses = (_labelled(type, part, Modifier.NONE),) if part.labels else ()
    return [(*labels, _named(type, part, Modifier.NONE))] if part.ids is not None else [labels]


def _labelled(type: str, part: Part, modifier: Modifier) -> Clause:
    terms = tuple(Term(TokenValue(system, code), system_given=bool(system)) for system, code in part.labels)
    return Clause(registry().of(type)["_security"], modifier, terms)


def _named(type: str, part: Part, modifier: Modifier) -> Clause:
    ids = sorted(name.partition("/")[2] for name in part.ids or () if name.startswith(f"{type}/"))
    return Clause(registry().of(type)["_id"], modifier, tuple(Term(TokenValue("", id)) for id in ids))


def _not_about(type: str, patients: frozenset[str]) -> Clause:
    """About none of these patients: for types outside of the compartment that name theirs."""
    terms = tuple(Term(ReferenceValue(f"Patient/{patient}")) for patient in sorted(patients))
    return Clause(registry().of(type)["patient"], Modifier.NOT, terms)
