"""What the user has let apps do, for the account page: in words, with the means to end it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from resources.instants import instant_text
from smart_auth.consent.categories import category_name
from smart_auth.consent.context import Whose, visible
from smart_auth.consent.words import sentence, word
from smart_auth.errors import OAuthError
from smart_auth.people.sessions import check_csrf, signed_in
from smart_auth.scopes import parse_scopes
from smart_auth.server.authorizations import Authorization, authorizations_of, revoke_all
from smart_auth.service import Person, Service
from smart_auth.users import User
from smart_auth.web import WebRequest, WebResponse, redirect

_DAY = 86_400_000_000
_HIDDEN: Final = Person("", "a patient whom you cannot see now")
"""In place of one who is gone, or keeps the record from the user by now."""


class Grant(msgspec.Struct, frozen=True):
    """One app as the page shows it, with all that the user has allowed it. `id` is the client's, `lines` say what it may do, `since` is a
    day, `used` a coarse sentence, `patients` are the names of others whose records it is about."""

    id: str
    client: str
    lines: tuple[str, ...]
    since: str
    used: str
    patients: tuple[str, ...] = ()


async def grants_of(service: Service, user: User, address: str) -> Sequence[Grant]:
    """The apps that have access with this user's account, the one last allowed first, as the user may see it, who looks from this network
    address. Raises StoreUnavailable."""
    by_client: dict[str, list[Authorization]] = {}
    granted = await authorizations_of(service, user.name)
    for each in granted:
        by_client.setdefault(each.client, []).append(each)
    ids = list(dict.fromkeys(each.patient for each in granted if each.patient))
    people = {one.reference: one for one in await visible(service, user, address, ids)}
    return [_shown(service, user, people, found) for found in by_client.values()]


async def revoke(service: Service, request: WebRequest) -> WebResponse:
    """POST /account/apps: end all that the user has allowed the client with this `id`, at once."""
    found = await signed_in(service, request)
    if found is None:
        raise OAuthError("forbidden", "You are no longer signed in. Sign in again.", 403)
    session, user = found
    check_csrf(service, request, session)
    client = request.single().get("id", "")
    if client:
        await revoke_all(service, user=user.name, client=client, by=user.name, why="its user ended it at the account page")
    return redirect("/account#apps")


def _shown(service: Service, user: User, people: Mapping[str, Person], granted: Sequence[Authorization]) -> Grant:
    """`granted` are of one client, newest first; `people` are the patients whom the user may see, by their references."""
    lines: dict[str, None] = {}
    patients: dict[str, str] = {}
    for each in granted:
        patient = people.get(f"Patient/{each.patient}", _HIDDEN) if each.patient else None
        lines |= dict.fromkeys(_lines(each, Whose(user, patient)))
        if patient is not None and patient.reference != user.fhir_user:
            patients[patient.reference] = patient.name
    return Grant(
        granted[0].client,
        granted[0].client_name or granted[0].client,
        tuple(lines),
        instant_text(min(each.created for each in granted))[:10],
        _used(max(each.used for each in granted), service.clock()),
        tuple(patients.values()),
    )


def _lines(granted: Authorization, whose: Whose) -> Iterator[str]:
    scopes = parse_scopes(granted.scopes)
    yield from (sentence(scope, whose(scope), category_name(scope)) for scope in scopes.resources)
    yield from map(word, scopes.words)


def _used(at: int, now: int) -> str:
    """When tokens were last issued, as coarsely as it matters to somebody who wonders whether to end it."""
    if not at:
        return "not used yet"
    days = (now - at) // _DAY
    if days < 1:
        return "used within the last day"
    if days < 7:
        return "used within the last week"
    return "used within the last month" if days < 31 else "not used for more than a month"
