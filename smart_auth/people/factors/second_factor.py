"""The second page of sign-in: a code of the authenticator app, a recovery code, or a passkey."""

import re

from smart_auth.consent.targets import targets_of
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.pages.rendering import page
from smart_auth.people import delays
from smart_auth.people.factors import passkeys, recovery, totp
from smart_auth.people.sessions import Session, checked, current, note, noted
from smart_auth.people.sign_in import asked_for, complete, onward
from smart_auth.service import Service
from smart_auth.users import User
from smart_auth.web import WebRequest, WebResponse, redirect

_SIX = re.compile(r"[0-9]{6}", re.ASCII)


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/second-factor?request=ID, after the password."""
    asked = asked_for(request.single())
    found = await waiting(service, request)
    if found is None:
        return redirect(onward("/oauth/sign-in", asked))
    session, user = found
    if not user.has_second_factor:
        return redirect(onward("/oauth/second-factor/set-up", asked))
    return await _page(service, request, session, user, asked)


async def answer(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/second-factor: `otp` (a code or a recovery code), or `credential` (what a passkey signed, JSON)."""
    form = request.single()
    asked = asked_for(form)
    session, user = await checked(service, request)
    if not session.waiting:
        return redirect(onward("/oauth/sign-in", asked))
    try:
        tried = await delays.attempt(service, request, "code", user.name)
    except OAuthError as refusal:
        return await _page(service, request, session, user, asked, refusal)
    session, challenge = await taken_challenge(service, session)
    proved = _proved(service, request, user, form, challenge)
    if proved is None:
        await service.commit(
            happening=Happening("login", "sign-in refused: wrong second factor", "4", user.name, address=request.address)
        )
        wrong = OAuthError(
            "access_denied", "This code is wrong, or it was used before." if "otp" in form else "The passkey was not accepted."
        )
        return await _page(service, request, session, user, asked, wrong)
    await delays.forgive(service, request, tried)
    changed, method = proved
    return await complete(service, request, changed, asked, *session.methods, method, "mfa", cleared=tried.cleared, read=user)


def _proved(service: Service, request: WebRequest, user: User, form: dict[str, str], challenge: str) -> tuple[User, str] | None:
    """The user with what was sent used up, and the method; None where it is wrong."""
    if "credential" in form:
        changed = passkeys.used(service, request, user, challenge, form["credential"]) if challenge else None
        return (changed, "hwk") if changed is not None else None
    code = re.sub(r"[\s-]", "", form.get("otp", "")[:64]).lower()
    changed = totp.used(service, user, code) if _SIX.fullmatch(code) else recovery.used(user, code)
    return (changed, "otp") if changed is not None else None


async def waiting(service: Service, request: WebRequest) -> tuple[Session, User] | None:
    """The session of whoever has given the password but not the second factor, and the user; None where there is none."""
    found = await current(service, request)
    return found if found is not None and found[0].waiting else None


async def taken_challenge(service: Service, session: Session) -> tuple[Session, str]:
    """The challenge of a passkey that the session remembers, and the session without it: it serves once, however many ask at a time."""
    challenge = noted(service, session).get("challenge", "")
    return (await note(service, session, challenge=""), challenge) if challenge else (session, "")


async def _page(
    service: Service, request: WebRequest, session: Session, user: User, asked: str, refusal: OAuthError | None = None
) -> WebResponse:
    options = ""
    if user.passkeys and passkeys.possible(service, request):
        challenge = passkeys.new_challenge()
        session = await note(service, session, challenge=challenge)
        options = passkeys.request_options(service, request, user, challenge)
    return page(
        service,
        "second_factor",
        status=refusal.status if refusal else 200,
        headers=dict(refusal.headers) if refusal else {},
        form_targets=await targets_of(service, asked),
        csrf=session.csrf,
        asked=asked,
        user=user,
        options=options,
        problem=refusal.description if refusal else "",
    )
