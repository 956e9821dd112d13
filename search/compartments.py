"""Compartments: the documents that belong to a Patient, Encounter, Practitioner, RelatedPerson or Device
(https://hl7.org/fhir/R4/compartmentdefinition.html)."""

from collections.abc import Mapping, Sequence
from functools import cache

from conformance.load import definitions
from search.parameters import Parameters
from search.query import AnyOf, Clause, Modifier, Term
from search.values import ReferenceValue, TokenValue, Value


@cache
def linking(compartment: str, type: str, parameters: Parameters) -> tuple[str, ...] | None:
    """The codes (as stored in an Entry) of the parameters that put a document of the type into the compartment.

    Empty if only the resource itself lies there; None if the type never does. Raises KeyError for an unknown compartment.
    """
    codes = definitions().compartments[compartment].get(type)
    if codes is None:
        return () if type == compartment else None
    found = (parameters.find(type, code) for code in codes if code != "{def}")
    return tuple(parameter.stored for parameter in found if parameter)


def owners(
    compartment: str, type: str, id: str, values: Mapping[str, Sequence[Value]], codes: tuple[str, ...] | None
) -> tuple[str, ...]:
    """The ids of the resources in whose compartment a document (its type, id and extracted values) lies, sorted.

    `codes` are what `linking` says for the type. A resource lies in its own compartment. Only references to this server count:
    `Patient/1`, not `http://elsewhere/Patient/1`.
    """
    if codes is None:
        return ()
    start = compartment + "/"
    found = {str(value[0])[len(start) :] for code in codes for value in values.get(code, ()) if str(value[0]).startswith(start)}
    if type == compartment:
        found.add(id)
    return tuple(sorted(found)) if found else ()


def within(compartment: str, id: str, type: str, parameters: Parameters) -> AnyOf:
    """The condition that a document of the type lies in the compartment of `compartment/id`; of a type that never does, it never holds.

    For Patients an index knows this by itself (`search.query.Compartment`).
    """
    term = Term(ReferenceValue(f"{compartment}/{id}"))
    clauses = [Clause(parameters.of(type)[code], Modifier.NONE, (term,)) for code in linking(compartment, type, parameters) or ()]
    if type == compartment:
        clauses.append(Clause(parameters.of(type)["_id"], Modifier.NONE, (Term(TokenValue("", id)),)))
    return AnyOf(tuple(clauses))
