"""The user's answer to a request for authorization: a code for the app, or a refusal (RFC 6749, 4.1.2; RFC 9207)."""

from typing import Any
from urllib.parse import urlencode

from resources.store import Conflict
from smart_auth.clients import Client, find_client
from smart_auth.errors import OAuthError, invalid_request, invalid_scope
from smart_auth.happenings import Happening
from smart_auth.issuing.authorization import (
    Authorization,
    authorizations_of,
    find_authorization,
    kept,
    new_id,
    revoke_all,
    revoke_authorization,
)
from smart_auth.issuing.codes import LASTS, Code, new_code
from smart_auth.issuing.tokens import within_user
from smart_auth.narrowing import covered
from smart_auth.people.sessions import Session
from smart_auth.scopes import Scopes, parse_scopes
from smart_auth.server.launch import SCOPE as ORCHESTRATES
from smart_auth.server.launch import STAFF, Launch, kept_launch, used
from smart_auth.server.pending import Pending, about_a_patient, answered, find_pending
from smart_auth.server.redirects import registered
from smart_auth.service import Service
from smart_auth.users import User
from smart_auth.web import WebResponse, redirect

__all__ = (
    "Authorization", "allow", "authorizations_of", "deny", "find_authorization", "grantable", "revoke_all", "revoke_authorization",
    "with_answer",
)  # fmt: skip


def grantable(pending: Pending, user: User) -> Scopes:
    """What this user may grant of what was asked for: no more than role and person allow. Only staff starts other apps."""
    here = within_user(pending.possible, user)
    if user.role in STAFF:
        return here
    return Scopes(here.resources, tuple(word for word in here.words if word.partition("?")[0] != ORCHESTRATES))


async def allow(
    service: Service, pending: Pending, user: User, session: Session, scopes: str, patient: str = "", encounter: str = ""
) -> WebResponse:
    """The redirect back to the app with a code, for exactly these `scopes` and (ids) this context.

    Raises OAuthError (for a page) where the request was answered already, the sign-in is too old or another user's, or more is granted
    than may be; StoreUnavailable.
    """
    client = await _client_of(service, pending)
    _check_user(pending, user, session)
    granted = _granted(pending, user, scopes)
    patient, encounter = _context(pending, granted, patient, encounter)
    if patient:
        await _check_patient(service, user, patient)
    _, revision = await find_pending(service, pending.id)
    launch = await _launch_of(service, pending)
    now = service.clock()
    authorization = Authorization(
        new_id(), client.id, client.name, user.name, granted.text, now, now + LASTS, session.started, session.methods, session.id,
        patient, encounter, extra=_extra(service, launch if "launch" in granted.words else None, patient),
    )  # fmt: skip
    code, stored = new_code(
        Code(authorization.id, client.id, pending.redirect_uri, pending.challenge, now + LASTS, nonce=pending.nonce)
    )
    changes = [answered(pending.id, revision), kept(authorization), stored]
    if launch is not None:
        changes.append(used(launch))
    try:
        await service.commit(*changes, happening=_happening(authorization, session))
    except Conflict:
        raise _answered_already() from None
    return redirect(with_answer(service, pending.redirect_uri, code=code, state=pending.state))


async def deny(service: Service, pending: Pending) -> WebResponse:
    """The redirect back to the app with access_denied. Raises OAuthError (for a page) where the request was answered already."""
    client = await _client_of(service, pending)
    _, revision = await find_pending(service, pending.id)
    happening = Happening(
        "grant", f"{client.name} was refused what it asked for", "4", client=client.id, about=(f"client/{client.id}",)
    )
    try:
        await service.commit(answered(pending.id, revision), happening=happening)
    except Conflict:
        raise _answered_already() from None
    answer = {"error": "access_denied", "error_description": "the user has refused", "state": pending.state}
    return redirect(with_answer(service, pending.redirect_uri, **answer))


def with_answer(service: Service, redirect_uri: str, **answer: str) -> str:
    """The redirect URI with an answer, and with `iss`, by which the app knows whose answer it is (RFC 9207)."""
    mark = "&" if "?" in redirect_uri else "?"
    pairs = {name: value for name, value in answer.items() if value}
    return f"{redirect_uri}{mark}{urlencode({**pairs, 'iss': service.urls.issuer})}"


def _answered_already() -> OAuthError:
    return invalid_request("This sign-in was finished already: go back to the app and start again")


async def _client_of(service: Service, pending: Pending) -> Client:
    client = await find_client(service.store, pending.client)
    if client is None or not registered(client, pending.redirect_uri):
        raise invalid_request("The app may not ask for access any more")
    return client


def _check_user(pending: Pending, user: User, session: Session) -> None:
    if user.disabled or session.user != user.name or session.waiting:
        raise OAuthError("access_denied", "Sign in again: this sign-in does not count", 403)
    if pending.for_user and pending.for_user != user.name:
        raise OAuthError("access_denied", "The app was started by another user: sign out, and sign in as that user", 403)
    if not pending.fresh(session):
        raise OAuthError("login_required", "The app wants you to sign in again", 403)


def _granted(pending: Pending, user: User, scopes: str) -> Scopes:
    granted = parse_scopes(scopes)
    if not covered(granted, grantable(pending, user)):
        raise invalid_scope("More was granted than the app has asked for or you may grant")
    if not granted.text:
        raise invalid_scope("Nothing was granted: choose something, or refuse")
    return granted


def _context(pending: Pending, granted: Scopes, patient: str, encounter: str) -> tuple[str, str]:
    """The context that tokens get: that of the launch, else what was chosen, as far as it was granted. Raises OAuthError where there is no
    patient and one is needed."""
    if pending.patient and patient not in ("", pending.patient):
        raise invalid_request("The app was started for another patient")
    patient, encounter = pending.patient or patient, pending.encounter or encounter
    if not patient and about_a_patient(granted):
        raise invalid_request("Choose the patient whose record the app is to see")
    words = {word.partition("?")[0] for word in granted.words}
    return (
        patient if "launch" in words or about_a_patient(granted) else "",
        encounter if words & {"launch", "launch/encounter"} else "",
    )


async def _check_patient(service: Service, user: User, patient: str) -> None:
    """For patients it is their own record, or that of somebody they stand for. What others may choose, the page has looked up."""
    if user.role == "patient":
        own = await service.directory.stands_for(user.fhir_user) if user.fhir_user else ()
        if f"Patient/{patient}" not in {person.reference for person in own}:
            raise OAuthError("access_denied", "You can only give access to your own record", 403)
    if await service.directory.person(f"Patient/{patient}") is None:
        raise invalid_request("There is no such patient")


def _extra(service: Service, launch: Launch | None, patient: str) -> dict[str, Any]:
    """Further members of the token response: how the app should look, and what the launch says."""
    extra: dict[str, Any] = {"smart_style_url": f"{service.urls.issuer}/oauth/style.json"}
    if patient:
        extra["need_patient_banner"] = True  # the app stands alone: nothing else says whose record it shows
    return extra | launch.extra if launch is not None else extra


async def _launch_of(service: Service, pending: Pending) -> Launch | None:
    """What the app was started with, None where no EHR did. Raises OAuthError where it was used meanwhile."""
    launch = await kept_launch(service, pending.launch) if pending.launch else None
    if pending.launch and launch is None:
        raise _answered_already()
    return launch


def _happening(authorization: Authorization, session: Session) -> Happening:
    return Happening(
        "grant",
        f"{authorization.client_name} was allowed {authorization.scopes}",
        subject=authorization.user,
        client=authorization.client,
        address=session.address,
        about=(f"client/{authorization.client}",),
        patient=f"Patient/{authorization.patient}" if authorization.patient else "",
    )
