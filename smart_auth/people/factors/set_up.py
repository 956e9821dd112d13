"""Setting up second factors: at the account page, or during sign-in where one is needed and there is none yet."""

import re
from dataclasses import dataclass

from resources.store import Conflict, RecordChange
from smart_auth.consent.targets import targets_of
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.pages.rendering import page
from smart_auth.people import delays, mail
from smart_auth.people.factors import passkeys, recovery, totp
from smart_auth.people.factors.second_factor import taken_challenge, waiting
from smart_auth.people.sessions import AGAIN, Session, checked, fresh, note, noted, required, signed_in
from smart_auth.people.sign_in import asked_for, completed, onward, why_second_factor
from smart_auth.people.storing import stored_over
from smart_auth.service import Service
from smart_auth.users import User, kept
from smart_auth.web import Cookie, WebRequest, WebResponse, redirect


@dataclass(frozen=True, slots=True)
class _SettingUp:
    """Who sets up a factor; `first`: during sign-in, to go on with `asked`."""

    session: Session
    user: User
    first: bool
    asked: str


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/second-factor/set-up and GET /account/second-factor: a QR code for an authenticator app, and a button for a passkey."""
    found = await _who(service, request)
    return found if isinstance(found, WebResponse) else await _page(service, request, found)


async def set_up(service: Service, request: WebRequest) -> WebResponse:
    """POST to the same: `otp` (the first code of the app), or `credential` (a new passkey, JSON) and `label`."""
    await checked(service, request)
    found = await _who(service, request)
    if isinstance(found, WebResponse):
        return found
    form = request.single()
    tried = await delays.attempt(service, request, "set-up", found.user.name)
    session, challenge = await taken_challenge(service, found.session)
    found = _SettingUp(session, found.user, found.first, found.asked)
    changed = _changed(service, request, found, form, challenge)
    if changed is None:
        text = (
            "The passkey was not accepted."
            if "credential" in form
            else "This is not the app's current code. Look again, and mind the clock."
        )
        return await _page(service, request, found, text)
    await delays.forgive(service, request, tried)
    return await _done(service, request, found, changed, "passkey" if "credential" in form else "authenticator app", tried)


def _changed(service: Service, request: WebRequest, found: _SettingUp, form: dict[str, str], challenge: str) -> User | None:
    if "credential" in form:
        if not challenge:
            return None
        return passkeys.created(service, request, found.user, challenge, form["credential"], form.get("label", ""))
    secret = noted(service, found.session).get("totp", "")
    slot = totp.matching(service, secret, re.sub(r"\s", "", form.get("otp", "")[:64])) if secret else 0
    return totp.with_secret(service, found.user, secret, slot) if slot else None


async def _done(
    service: Service, request: WebRequest, found: _SettingUp, changed: User, what: str, tried: delays.Attempt
) -> WebResponse:
    """Store the factor, with recovery codes where the user has none; they are shown now and never again."""
    codes: tuple[str, ...] = ()
    if not changed.recovery:
        changed, codes = recovery.renewed(changed)
    text = f"second factor added: {what}"
    cookies: tuple[Cookie, ...] = ()
    if found.first:
        methods = (*found.session.methods, "hwk" if what == "passkey" else "otp", "mfa")
        cookies = await completed(service, request, changed, *methods, cleared=tried.cleared, also=text, read=found.user)
    else:
        await _stored(service, request, found.user, changed, text, tried.cleared)
        await note(service, found.session, totp="")
    mail.tell(service.settings, changed, f"A second factor was added: {what}.")
    next = onward("/oauth/consent", found.asked) if found.asked else "/account"
    if not codes:
        return redirect(next, *cookies)
    return page(service, "recovery_codes", cookies=cookies, codes=codes, next=next)


async def renew_codes(service: Service, request: WebRequest) -> WebResponse:
    """POST /account/recovery-codes: ten new codes in place of what is left."""
    found = await _changing(service, request)
    if isinstance(found, WebResponse):
        return found
    changed, codes = recovery.renewed(found.user)
    await _stored(service, request, found.user, changed, "recovery codes renewed")
    mail.tell(service.settings, changed, "Your recovery codes were renewed.")
    return page(service, "recovery_codes", codes=codes, next="/account")


async def remove(service: Service, request: WebRequest) -> WebResponse:
    """POST /account/second-factor/remove: `factor` is `totp` or the id of a passkey."""
    found = await _changing(service, request)
    if isinstance(found, WebResponse):
        return found
    user, factor = found.user, request.single().get("factor", "")
    changed = user.having(totp="", totp_last=0) if factor == "totp" else user
    changed = changed.having(passkeys=tuple(each for each in changed.passkeys if each.id != factor))
    if not changed.has_second_factor:
        if why := why_second_factor(service, user):
            raise OAuthError("forbidden", f"{why} Add another one before you remove this one.", 403)
        changed = changed.having(recovery=())
    if changed != user:
        what = "authenticator app" if factor == "totp" else "passkey"
        await _stored(service, request, user, changed, f"second factor removed: {what}")
        mail.tell(service.settings, changed, f"A second factor was removed: {what}.")
    return redirect("/account")


async def _changing(service: Service, request: WebRequest) -> _SettingUp | WebResponse:
    session, user = await required(service, request)
    return _SettingUp(session, user, False, "") if fresh(service, session) else redirect(AGAIN)


async def _who(service: Service, request: WebRequest) -> _SettingUp | WebResponse:
    """Who may set up a factor here: during sign-in whoever has none, at the account whoever has signed in a moment ago."""
    if request.path.startswith("/oauth/"):
        asked = asked_for(request.single())
        found = await waiting(service, request)
        if found is None or found[1].has_second_factor:
            return redirect(onward("/oauth/sign-in" if found is None else "/oauth/second-factor", asked))
        return _SettingUp(*found, True, asked)
    found = await signed_in(service, request)
    if found is None or not fresh(service, found[0]):
        return redirect(AGAIN)
    return _SettingUp(*found, False, "")


async def _stored(
    service: Service, request: WebRequest, user: User, changed: User, text: str, cleared: tuple[RecordChange, ...] = ()
) -> None:
    happening = Happening("credentials", text, subject=user.name, address=request.address)

    async def commit(stored: User) -> None:
        await service.commit(kept(changed.over(stored)), *cleared, happening=happening)

    try:
        await stored_over(service, user, commit)
    except Conflict:
        raise OAuthError("conflict", "Your account was changed at the same moment. Load the page again.", 409) from None


async def _page(service: Service, request: WebRequest, found: _SettingUp, problem: str = "") -> WebResponse:
    secret = noted(service, found.session).get("totp") or totp.new_secret()
    challenge = passkeys.new_challenge()
    session = await note(service, found.session, totp=secret, challenge=challenge)
    possible = passkeys.possible(service, request) and len(found.user.passkeys) < passkeys.MOST
    return page(
        service,
        "set_up",
        status=400 if problem else 200,
        form_targets=await targets_of(service, found.asked),
        csrf=session.csrf,
        asked=found.asked,
        first=found.first,
        why=why_second_factor(service, found.user),
        action=request.path,
        user=found.user,
        picture=totp.picture(service, found.user, secret),
        secret=" ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
        options=passkeys.creation(service, request, found.user, challenge) if possible else "",
        problem=problem,
    )
