"""How claims of outside issuers are read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_auth.outside.claims import Mapped, audiences, claim, context_id, read_pairs, read_roles, text, values
from smart_auth.roles import ROLES
from smart_auth.users import FHIR_USER

BASES = ("https://h/fhir", "http://localhost:8000/fhir")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"aud": "a"}, {"a"}),
        ({"aud": "a b"}, {"a b"}),
        ({"aud": ["a", "b", 7, None]}, {"a", "b"}),
        ({"aud": [], "token_use": "access", "client_id": "c"}, set()),
        ({"client_id": "c"}, set()),
        ({"client_id": "c", "token_use": "id"}, set()),
        ({"client_id": "c", "token_use": "access"}, {"c"}),
        ({"aud": {"a": 1}}, set()),
        ({}, set()),
    ],
)
def test_audiences(claims: dict[str, Any], expected: set[str]) -> None:
    """One text is one audience; only Amazon Cognito's access tokens name their client in its place."""
    assert audiences(claims) == expected


@pytest.mark.parametrize(
    ("claims", "name", "expected"),
    [
        ({"groups": ["a"]}, "groups", ["a"]),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ["a"]),
        ({"https://x.example/roles": ["a"]}, "https://x.example/roles", ["a"]),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a": "b"}, "a.b", None),
        ({"a": ["b"]}, "a.0", None),
        ({}, "a", None),
    ],
)
def test_names_and_paths(claims: dict[str, Any], name: str, expected: object) -> None:
    """A claim is found by its name, dots and all, or by a path."""
    assert claim(claims, name) == expected


@pytest.mark.parametrize(
    ("fhir_user", "claims", "expected"),
    [
        ("fhirUser", {"fhirUser": "Practitioner/1"}, "Practitioner/1"),
        ("fhirUser", {"fhirUser": "https://h/fhir/Patient/1"}, "Patient/1"),
        ("fhirUser", {"fhirUser": "http://localhost:8000/fhir/Patient/1"}, "Patient/1"),
        ("fhirUser", {"fhirUser": "https://elsewhere/fhir/Patient/1"}, ""),
        ("fhirUser", {"fhirUser": "https://h/fhir/https://h/fhir/Patient/1"}, ""),
        ("fhirUser", {"fhirUser": "Observation/1"}, ""),
        ("fhirUser", {"fhirUser": "Patient/1/_history/1"}, ""),
        ("fhirUser", {"fhirUser": "Patient/../1"}, ""),
        ("fhirUser", {"fhirUser": ["Patient/1"]}, ""),
        ("Practitioner/{employee}", {"employee": "E-7"}, "Practitioner/E-7"),
        ("Practitioner/{hr.number}", {"hr": {"number": "7"}}, "Practitioner/7"),
        ("Practitioner/{employee}", {"employee": "7/../../Patient/1"}, ""),
        ("Practitioner/{employee}", {"employee": ""}, ""),
        ("Practitioner/{employee}", {"employee": 7}, ""),
        ("Practitioner/{employee}", {}, ""),
        ("{kind}/{id}", {"kind": "Patient", "id": "1"}, "Patient/1"),
        ("{kind}/{id}", {"kind": "{id}", "id": "1"}, ""),
    ],
)
def test_references(fhir_user: str, claims: dict[str, Any], expected: str) -> None:
    """A reference to this server, by a claim or a template of claims; everything else is nobody."""
    assert Mapped("", {}, fhir_user, BASES).reference(claims) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"fhirUser": "Patient/1"}, "patient"),
        ({"fhirUser": "RelatedPerson/1"}, "patient"),
        ({"fhirUser": "Person/1"}, "patient"),
        ({"fhirUser": "Practitioner/1"}, "practitioner"),
        ({"fhirUser": "https://elsewhere/fhir/Practitioner/1"}, ""),
        ({"role": "admin"}, ""),
        ({}, ""),
    ],
)
def test_roles_without_a_table(claims: dict[str, Any], expected: str) -> None:
    """Without a role claim only patients and practitioners have a role: nobody becomes more by being somebody."""
    assert Mapped("", {}, "fhirUser", BASES).role(claims) == expected


def test_settings_of_pairs() -> None:
    """Pairs are separated by blanks; what is encoded stands for itself, and a value may have equals signs to the left."""
    assert read_roles("a=admin clinical%20staff=practitioner CN=x=auditor") == {
        "a": "admin",
        "clinical staff": "practitioner",
        "CN=x": "auditor",
    }
    assert read_pairs("") == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b", "fhirUser"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "a.b", "fhirUser", "aud", "patient"]), JSON, max_size=4))
def test_any_claims_are_read(claims: dict[str, Any]) -> None:
    """Whatever an issuer writes, what is read is of the right kind, or nothing."""
    mapped = Mapped("a.b", {"x": "admin"}, "{a}/{b}", BASES)
    assert mapped.role(claims) in ("", *ROLES)
    assert mapped.reference(claims) == "" or FHIR_USER.fullmatch(mapped.reference(claims))
    assert isinstance(text(claims, "a", "b"), str) and all(isinstance(each, str) for each in values(claims, "a.b", "a"))
    assert "/" not in context_id(claims, "patient", "Patient") and all(isinstance(each, str) for each in audiences(claims))
