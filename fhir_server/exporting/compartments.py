"""Whose records a document lies in, told from its own bytes (https://hl7.org/fhir/R4/compartmentdefinition-patient.html)."""

from collections.abc import Callable, Iterable

from fhir_server.access.types import BY_PATIENT
from fhir_server.context import Context
from search.compartments import linking
from search.extract import entry_of
from search.values import ReferenceValue, Value

_PATIENT = "patient"
"""The parameter by which documents outside of the compartment name their patient."""

Patients = Callable[[str, bytes], tuple[str, ...]]
"""A document's id and bytes -> the ids of the patients in whose compartments it lies."""


def patients_reader(ctx: Context, type: str) -> Patients:
    """What reads them from documents of a type: of a document only those members are decoded that can name a patient."""
    by_patient = type in BY_PATIENT
    codes = (_PATIENT,) if by_patient else linking("Patient", type, ctx.parameters)
    plan = ctx.extractor.plan(type).only(frozenset(codes or ()))
    read = plan.reader()

    def patients(id: str, body: bytes) -> tuple[str, ...]:
        values = plan.values(read(body))
        if by_patient:
            return _named(values.get(_PATIENT, ()))
        return entry_of(plan, type, id, values).patients

    return patients


def _named(values: Iterable[Value]) -> tuple[str, ...]:
    names = (value.target.partition("/") for value in values if isinstance(value, ReferenceValue))
    return tuple(sorted({id for kind, _, id in names if kind == "Patient"}))
