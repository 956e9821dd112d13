"""Who may import: backend services and administrators, what their scopes allow as a whole."""

import pytest

from fhir_server.access.granting import decision_of
from fhir_server.importing.asked import Asked, Input, Mode, check_access
from resources.outcomes import FhirError
from smart_auth.access import Access

ALLOWED: list[tuple[str, str, Mode]] = [
    ("system/*.cruds", "", "upsert"),
    ("system/Patient.cu", "", "upsert"),
    ("system/Patient.cu", "", "keep-history"),
    ("system/Patient.c", "", "create"),
]
REFUSED: list[tuple[str, str, Mode]] = [
    ("system/Patient.c", "", "upsert"),
    ("system/Patient.u", "", "create"),
    ("system/*.rs", "", "create"),
    ("system/Observation.cruds", "", "upsert"),
    ("system/Patient.cu?gender=male", "", "upsert"),
    ("user/*.cruds", "practitioner", "upsert"),
    ("patient/*.cruds", "patient", "create"),
]


def check(scopes: str, role: str, mode: Mode) -> None:
    access = Access("somebody", "app", scopes, 0, role=role, patient="p" if "patient/" in scopes else "")
    asked = Asked("https://other.example.org", (Input("Patient", "https://files.example.org/p"),), mode)
    check_access(decision_of(access, ("p",), ("http://here/fhir",)), asked)


@pytest.mark.parametrize(("scopes", "role", "mode"), ALLOWED)
def test_allowed(scopes: str, role: str, mode: Mode) -> None:
    """Each type may be created, and changed where the mode changes."""
    check(scopes, role, mode)


@pytest.mark.parametrize(("scopes", "role", "mode"), REFUSED)
def test_refused(scopes: str, role: str, mode: Mode) -> None:
    """Too little, a part of a type, and the scopes of users and patients are 403."""
    with pytest.raises(FhirError) as refused:
        check(scopes, role, mode)
    assert refused.value.status == 403
