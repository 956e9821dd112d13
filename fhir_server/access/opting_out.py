"""What patients' consents keep from a caller, taken from what the caller's token allows.

A record that is denied as a whole is left out of a grant by the patient's id (`Grant.without`). One that is denied in part is left out
too, and comes back by a grant for that patient's compartment alone, with what remains as clauses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from fhir_server.access.consents import OptOut, Part
from fhir_server.access.decision import LETTERS, Decision, Letter, Reach
from fhir_server.access.types import BY_PATIENT, OF_AUDITORS
from search.compartments import linking
from search.parameters import registry
from search.query import Clause, Compartment, Grant, Grants, Modifier, Term
from search.values import ReferenceValue, TokenValue

MOST_WAYS = 32
"""Ways in which a document may be left by several denials with exceptions; with more the patient's documents of the type are denied."""

Clauses = tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one patient's record: a part, but for other parts."""

    part: Part
    exceptions: tuple[Part, ...]


def kept_from(
    opt_outs: Sequence[OptOut], actors: frozenset[str], purposes: frozenset[str], now: int, *, named: bool = False
) -> dict[str, list[Kept]]:
    """Patient -> what is kept from a caller who is all of `actors`, at this moment; `named`: only by denials that name actors."""
    found: dict[str, list[Kept]] = {}
    for opt_out in opt_outs:
        for denial in opt_out.denials:
            if denial.rule.counts(actors, purposes, now) and not (named and denial.rule.actors is None):
                exceptions = tuple(rule.part for rule in denial.exceptions if rule.counts(actors, purposes, now))
                if not any(part.whole for part in exceptions):
                    found.setdefault(opt_out.patient, []).append(Kept(denial.rule.part, exceptions))
    return found


def narrowed(decision: Decision, kept: Mapping[str, Sequence[Kept]], letters: Sequence[Letter]) -> Decision:
    """The decision without what is kept, for these letters."""
    whole = frozenset(patient for patient, each in kept.items() if any(k.part.whole and not k.exceptions for k in each))
    partly = {patient: each for patient, each in kept.items() if patient not in whole}
    found = {
        letter: _reach(decision.letter(letter), whole, partly) if letter in letters else decision.letter(letter)
        for letter in LETTERS
    }
    return replace(decision, create=found["c"], read=found["r"], update=found["u"], delete=found["d"], search=found["s"])


def _reach(reach: Reach | None, whole: frozenset[str], partly: Mapping[str, Sequence[Kept]]) -> Reach:
    by_type = {type: (Grant(type),) for type in registry().types} if reach is None else reach.by_type
    return Reach({type: _grants(type, grants, whole, partly) for type, grants in by_type.items()})


def _grants(type: str, grants: Grants, whole: frozenset[str], partly: Mapping[str, Sequence[Kept]]) -> Grants:
    touched = {patient: [k for k in each if k.part.of(type)] for patient, each in partly.items()}
    touched = {patient: each for patient, each in touched.items() if each}
    closed = whole.union(touched) if touched else whole
    if not closed:
        return grants
    if type in BY_PATIENT:
        found = [replace(grant, clauses=(*grant.clauses, _about(type, closed, Modifier.NOT))) for grant in grants]
    elif type == "Patient" or (linking("Patient", type, registry()) and type != OF_AUDITORS):
        found = [replace(grant, without=grant.without | closed) for grant in grants]
    else:
        return grants  # whoever may see the record of accesses sees all of it
    for patient, each in touched.items():
        for clauses in _ways(type, each):
            found += [_back(grant, type, patient, clauses, closed) for grant in grants if _reaches(grant, patient)]
    return tuple(found)


def _reaches(grant: Grant, patient: str) -> bool:
    return not grant.free and patient not in grant.without and grant.compartment in (None, Compartment(patient))


def _back(grant: Grant, type: str, patient: str, clauses: Clauses, closed: frozenset[str]) -> Grant:
    """A grant for what remains of one patient's."""
    clauses = (*grant.clauses, *clauses)
    if type in BY_PATIENT:
        return replace(grant, clauses=(*clauses, _about(type, frozenset((patient,)), Modifier.NONE)))
    return replace(grant, compartment=Compartment(patient), clauses=clauses, without=(grant.without | closed) - {patient})


def _ways(type: str, kept: Sequence[Kept]) -> list[Clauses]:
    """Clauses for documents of the type that nothing of this is kept of: one of the lists must hold."""
    ways = [
        _outside(type, each.part) + [way for part in each.exceptions if part.of(type) for way in _inside(type, part)]
        for each in kept
    ]
    count = 1
    for each in ways:
        count *= len(each)
    return [tuple(dict.fromkeys(sum(way, ()))) for way in product(*ways)] if count <= MOST_WAYS else []


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


def _about(type: str, patients: frozenset[str], modifier: Modifier) -> Clause:
    """About one of these patients, or about none of them: for types outside of the compartment that name theirs."""
    terms = tuple(Term(ReferenceValue(f"Patient/{patient}")) for patient in sorted(patients))
    return Clause(registry().of(type)["patient"], modifier, terms)
