"""What the user has let apps do, for the account page: in words, with the means to end it."""

from collections.abc import Sequence

import msgspec

from resources.instants import instant_text
from smart_auth.consent.categories import category_name
from smart_auth.consent.context import Whose
from smart_auth.consent.words import sentence, word
from smart_auth.errors import OAuthError
from smart_auth.people.sessions import check_csrf, signed_in
from smart_auth.scopes import parse_scopes
from smart_auth.server.authorizations import Authorization, authorizations_of, find_authorization, revoke_authorization
from smart_auth.service import Service
from smart_auth.users import User
from smart_auth.web import WebRequest, WebResponse, redirect

_DAY = 86_400_000_000


class Grant(msgspec.Struct, frozen=True):
    """One consent as the page shows it. `lines` say what it allows, `since` is a day, `used` a coarse sentence, `patient` a name or ""."""

    id: str
    client: str
    lines: tuple[str, ...]
    since: str
    used: str
    patient: str = ""


async def grants_of(service: Service, user: User) -> Sequence[Grant]:
    """What the user has granted and not ended, newest first. Raises StoreUnavailable."""
    return [await _shown(service, user, each) for each in await authorizations_of(service, user.name)]


async def revoke(service: Service, request: WebRequest) -> WebResponse:
    """POST /account/apps: end the access with this `id`, at once. One of somebody else's is treated as one that is not there."""
    found = await signed_in(service, request)
    if found is None:
        raise OAuthError("forbidden", "You are no longer signed in. Sign in again.", 403)
    session, user = found
    check_csrf(service, request, session)
    granted = await find_authorization(service, request.single().get("id", ""))
    if granted is not None and granted.user == user.name:
        why = "its user ended it at the account page"
        await revoke_authorization(service, granted.id, by=user.name, why=why, address=request.address)
    return redirect("/account#apps")


async def _shown(service: Service, user: User, granted: Authorization) -> Grant:
    patient = await service.directory.person(f"Patient/{granted.patient}") if granted.patient else None
    whose, scopes = Whose(user, patient), parse_scopes(granted.scopes)
    lines = [sentence(scope, whose(scope), category_name(scope)) for scope in scopes.resources]
    other = patient is not None and patient.reference != user.fhir_user
    return Grant(
        granted.id,
        granted.client_name or granted.client,
        (*lines, *map(word, scopes.words)),
        instant_text(granted.created)[:10],
        _used(granted.used, service.clock()),
        patient.name if patient is not None and other else "",
    )


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
