"""Roles: the most that a token of a user may ever do, whatever the app asks for and the user allows. A table, in scopes.

`user/` scopes of a patient (or someone who stands for one) reach the record of that patient alone, those of the others what the table says.
"""

from types import MappingProxyType
from typing import Final

from smart_auth.scopes import Scopes, parse_scopes

_SHARED = (
    "Organization", "Location", "Practitioner", "PractitionerRole", "HealthcareService", "Endpoint", "Medication", "Questionnaire",
    "ValueSet", "CodeSystem",
)  # fmt: skip
_FRONT_DESK = (
    "Patient", "RelatedPerson", "Appointment", "AppointmentResponse", "Encounter", "Coverage", "Account", "Schedule", "Slot",
    "Communication",
)  # fmt: skip


def _each(types: tuple[str, ...], letters: str) -> str:
    return " ".join(f"{level}/{type}.{letters}" for level in ("patient", "user") for type in types)


ROLES: Final = MappingProxyType(
    {
        "patient": "patient/*.cruds user/*.cruds",
        "practitioner": "patient/*.cruds user/*.cruds",
        "front-desk": f"{_each(_FRONT_DESK, 'cruds')} {_each(_SHARED, 'rs')}",
        "analyst": "patient/*.rs user/*.rs",
        "auditor": "user/AuditEvent.rs user/Practitioner.rs user/PractitionerRole.rs user/Organization.rs user/Patient.rs",
        "admin": "patient/*.cruds user/*.cruds",
    }
)
"""Role -> its most. Beside this table `fhir_server/access/types.py` keeps for everybody: an AuditEvent is only read by an auditor or admin;
what changes how the server works (a SearchParameter) or who may see what (a Person, a PractitionerRole, a Consent …) is only written
by those whom its table WRITTEN_BY names."""


def most(role: str) -> Scopes:
    """The most that a role may do. Raises KeyError for an unknown role."""
    return parse_scopes(ROLES[role])
