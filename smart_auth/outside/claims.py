"""What an outside issuer says of somebody, as roles and references of this server."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from resources.ids import valid_id
from smart_auth.roles import ROLES
from smart_auth.users import FHIR_USER

_PLACE = re.compile(r"\{([^{}]{1,100})\}")
_BY_TYPE = {"Patient": "patient", "RelatedPerson": "patient", "Person": "patient", "Practitioner": "practitioner"}

Claims = Mapping[str, Any]


def claim(claims: Claims, name: str) -> Any:
    """A claim by its name, or by a path such as `realm_access.roles`; None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def text(claims: Claims, *names: str) -> str:
    """The first of these claims that is a text; "" for none."""
    return next((value for name in names if isinstance(value := claim(claims, name), str)), "")


def values(claims: Claims, *names: str) -> tuple[str, ...]:
    """The texts in the first of these claims that is there: a list's, or those of one text between blanks."""
    for name in names:
        value = claim(claims, name)
        if isinstance(value, str):
            return tuple(value.split())
        if isinstance(value, list):
            return tuple(each for each in value if isinstance(each, str))
    return ()


def audiences(claims: Claims) -> frozenset[str]:
    """Whom a JWT is for (RFC 7519, 4.1.3). Amazon Cognito leaves that out of access tokens, which it marks; there it is the client."""
    found = claims.get("aud")
    if found is None and claims.get("token_use") == "access":
        found = claims.get("client_id")
    return frozenset(each for each in (found if isinstance(found, list) else [found]) if isinstance(each, str))


def read_pairs(setting: str, *, left: frozenset[str] | None = None, right: frozenset[str] | None = None) -> dict[str, str]:
    """A setting of pairs `a=b`, separated by blanks; `%20` and the like stand for characters. Raises ValueError with a sentence."""
    found = {}
    for pair in setting.split():
        name, mark, value = (unquote(part) for part in pair.rpartition("="))
        if not (name and mark and value):
            raise ValueError(f"{pair!r} is no pair such as a=b")
        if (left is not None and name not in left) or (right is not None and value not in right):
            raise ValueError(f"{pair!r}: known are {', '.join(sorted(left or right or ()))}")
        found[name] = value
    return found


def read_roles(setting: str) -> dict[str, str]:
    """Values of the role claim and the roles that they mean, `clinicians=practitioner …`. Raises ValueError with a sentence."""
    return read_pairs(setting, right=frozenset(ROLES))


@dataclass(frozen=True, slots=True)
class Mapped:
    """How claims are read. `role_claim` "": the role follows from the kind of `fhir_user`. `roles` are in order: the first that is there
    counts. `fhir_user` is a claim's name, or a template (`Practitioner/{employee}`). `bases` are the FHIR bases that mean this server."""

    role_claim: str
    roles: Mapping[str, str]
    fhir_user: str
    bases: tuple[str, ...]

    def role(self, claims: Claims) -> str:
        """The role, "" for none."""
        if self.role_claim:
            there = {*values(claims, self.role_claim), text(claims, self.role_claim)}
            return next((role for value, role in self.roles.items() if value in there), "")
        return _BY_TYPE.get(self.reference(claims).partition("/")[0], "")

    def reference(self, claims: Claims) -> str:
        """Who the person is in this server (`Practitioner/1`); "" for nobody, and for who is at another server."""
        if "{" in self.fhir_user:
            parts = {name: text(claims, name) for name in _PLACE.findall(self.fhir_user)}
            if not all(valid_id(value) for value in parts.values()):
                return ""
            found = _PLACE.sub(lambda place: parts[place[1]], self.fhir_user)
        else:
            found = text(claims, self.fhir_user)
        for base in self.bases:
            found = found.removeprefix(f"{base}/")
        return found if FHIR_USER.fullmatch(found) else ""


def context_id(claims: Claims, name: str, type: str) -> str:
    """An id in a launch context, with or without its type before it; "" for none."""
    found = text(claims, name).removeprefix(f"{type}/")
    return found if valid_id(found) else ""
