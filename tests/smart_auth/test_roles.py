"""The table of roles: the most that a token of a user may do."""

import pytest

from conformance.load import definitions
from smart_auth.roles import ROLES, most
from smart_auth.scopes import parse_scopes, within

NAMES = ("patient", "practitioner", "front-desk", "analyst", "auditor", "admin")


def may(role: str, scope: str) -> bool:
    """Whether a token of this role may have the scope."""
    return within(parse_scopes(scope).resources, most(role))


def test_all_roles_are_there() -> None:
    """The table has each role once, and nothing of it is misspelt."""
    assert tuple(ROLES) == NAMES
    types = {*definitions().compartments["Patient"], "Practitioner", "PractitionerRole", "Organization", "Location"} | _known()
    for role in NAMES:
        read = parse_scopes(ROLES[role])
        assert not read.unknown and not read.words and read.resources
        assert {scope.type for scope in read.resources} <= {*types, "*"}


def _known() -> set[str]:
    from search.parameters import registry

    return set(registry().types)


@pytest.mark.parametrize("role", NAMES)
def test_no_role_of_a_user_has_what_is_a_systems(role: str) -> None:
    """A user's token never has a scope of the level `system`."""
    assert not [scope for scope in most(role).resources if scope.level == "system"]


@pytest.mark.parametrize(
    ("role", "scope", "allowed"),
    [
        ("patient", "patient/*.cruds", True),
        ("practitioner", "user/Observation.cruds", True),
        ("practitioner", "system/Observation.r", False),
        ("front-desk", "user/Appointment.cruds", True),
        ("front-desk", "user/Patient.rs", True),
        ("front-desk", "user/Slot.u", True),
        ("front-desk", "user/Organization.rs", True),
        ("front-desk", "user/Organization.u", False),
        ("front-desk", "user/Observation.r", False),
        ("front-desk", "user/Condition.s", False),
        ("front-desk", "user/AuditEvent.r", False),
        ("front-desk", "user/*.r", False),
        ("analyst", "user/*.rs", True),
        ("analyst", "user/Observation.rs?category=laboratory", True),
        ("analyst", "user/Observation.c", False),
        ("analyst", "user/Observation.d", False),
        ("analyst", "patient/*.u", False),
        ("auditor", "user/AuditEvent.rs", True),
        ("auditor", "user/Patient.rs", True),
        ("auditor", "user/Observation.r", False),
        ("auditor", "user/AuditEvent.d", False),
        ("auditor", "user/*.r", False),
        ("admin", "user/*.cruds", True),
    ],
)
def test_roles_allow_what_the_table_says(role: str, scope: str, allowed: bool) -> None:
    """What each role may ask for at most, and what it may not."""
    assert may(role, scope) is allowed


def test_unknown_role_is_no_role() -> None:
    """A role that the table does not have gives nothing: it is an error."""
    with pytest.raises(KeyError):
        most("root")
