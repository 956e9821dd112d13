"""Of the scopes that a client asks for: which it can be given, and why not the others."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from smart_auth.clients import Client
from smart_auth.errors import invalid_scope, sayable
from smart_auth.narrowing import common
from smart_auth.scopes import MOST, ResourceScope, Scopes, fault, parse_scopes
from smart_auth.service import Service

_TOLD: Final = 5
"""Scopes that an error explains; the others are counted."""
_NAMED: Final = 10
_NOT_REGISTERED: Final = "this client is not registered for it"


class Sorted(NamedTuple):
    """`possible`: what the client can have. `left_out`: scope as it was asked for -> why it cannot."""

    possible: Scopes
    left_out: Mapping[str, str]


def sort_scopes(service: Service, client: Client, asked: str, word: Callable[[str], str]) -> Sorted:
    """What of `asked` is possible: known types and searches, on the client's own levels, no more than it is registered for.

    `word` tells why a word (`launch/patient`) is not given, "" if it can be. Raises OAuthError invalid_scope, which says why, where nothing
    is left."""
    if asked.count(" ") >= MOST:
        raise invalid_scope(f"scope has more than {MOST} parts")
    wanted = parse_scopes(asked)
    left_out = {part: fault(part) for part in wanted.unknown}
    left_out |= {scope.text: why for scope in wanted.resources if (why := _unfit(service, client, scope))}
    left_out |= {each: why for each in wanted.words if (why := word(each))}
    resources = tuple(scope for scope in wanted.resources if scope.text not in left_out)
    words = tuple(each for each in wanted.words if each not in left_out)
    possible = common(Scopes(resources, words), client.most)
    left_out |= dict.fromkeys((each for each in words if each not in possible.words), _NOT_REGISTERED)
    left_out |= {each: _NOT_REGISTERED for each in beyond(resources, client.most)}
    if not possible.text:
        raise invalid_scope(
            f"nothing of it can be granted: {reasons(left_out)}" if left_out else "scope is missing: name what it is for"
        )
    return Sorted(possible, left_out)


def beyond(scopes: tuple[ResourceScope, ...], most: Scopes) -> list[str]:
    """Those of which no part lies within `most`."""
    return [scope.text for scope in scopes if not common(Scopes((scope,)), most).resources]


def reasons(left_out: Mapping[str, str]) -> str:
    """The first of the scopes with why, for an error_description."""
    told = "; ".join(f"{sayable(part, 80)}: {why}" for part, why in list(left_out.items())[:_TOLD])
    return f"{told}; and {len(left_out) - _TOLD} more" if len(left_out) > _TOLD else told


def named(left_out: Iterable[str]) -> str:
    """The scopes for people to read, some of them by name; `launch` is not worth a word."""
    names = [sayable(each, 60) for each in left_out if each != "launch"]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _unfit(service: Service, client: Client, scope: ResourceScope) -> str:
    """Why such a client cannot have the scope at all, "" if it can."""
    if scope.level == "system" and client.type != "backend":
        return "system/ scopes are for backend services"
    if scope.level != "system" and client.type == "backend":
        return "a backend service has system/ scopes only"
    if scope.type != "*" and scope.type not in service.directory.types():
        return f"FHIR R4 has no resource type {scope.type}"
    return sayable(service.directory.problem(scope.type, scope.narrowed) or "") if scope.narrowed else ""
