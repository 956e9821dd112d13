"""The sign-in page: user name and password, then the second factor where there is one, then on to the app (or the account page)."""

import re
from typing import Final

from resources.store import Conflict, RecordChange
from smart_auth.consent.targets import targets_of
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.pages.rendering import page
from smart_auth.people import delays, passwords
from smart_auth.people.browser import Form, check_browser
from smart_auth.people.sessions import begin, current, ended
from smart_auth.people.storing import stored_over
from smart_auth.server.pending import load_pending
from smart_auth.service import Service
from smart_auth.users import User, find_user, kept, normalised
from smart_auth.web import Cookie, WebRequest, WebResponse, redirect

NOTICES: Final = {
    "again": "Sign in again to change how you sign in.",
    "password": "Your password is changed. Sign in with the new one.",
}
"""What the page can be asked to say above the form: names, so that no link puts words into it."""
WRONG: Final = "The user name or the password is wrong."
_REQUEST = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/sign-in?request=ID. `request` is what the app asked for, to go on with; without it the account page follows."""
    fields = request.single()
    notice = NOTICES.get(fields.get("notice", ""), "")
    asked = asked_for(fields)
    return await _page(service, request, asked, await _hinted(service, asked), notice=notice)


async def _hinted(service: Service, asked: str) -> str:
    """The user name that the app believes in (`login_hint`), to be filled in; "" where it names none, or nothing waits any more."""
    try:
        return (await load_pending(service, asked)).login_hint if asked else ""
    except OAuthError:
        return ""


async def sign_in(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/sign-in: `username`, `password`. The same answer and the same work whether there is such a user or not."""
    check_browser(service, request)
    form = request.single()
    asked = asked_for(form)
    name = normalised(form.get("username", ""))
    try:
        tried = await delays.attempt(service, request, "password", name)
    except OAuthError as refusal:
        return await _page(service, request, asked, form.get("username", ""), refusal)
    user = await _proven(service, name, form.get("password", ""))
    if user is None:
        known = name if name and await find_user(service.store, name) is not None else ""
        await service.commit(
            happening=Happening("login", "sign-in refused: wrong user name or password", "4", known, address=request.address)
        )
        return await _page(service, request, asked, form.get("username", ""), OAuthError("access_denied", WRONG, 400))
    rehashed = await _rehashed(service, user, form["password"])
    await delays.forgive(service, request, tried)
    return await entered(service, request, rehashed, asked, "pwd", cleared=tried.cleared, read=user)


async def _proven(service: Service, name: str, password: str) -> User | None:
    user = await find_user(service.store, name)
    able = user is not None and not user.disabled
    right = await passwords.verified(service.settings, user.password if user is not None and able else "", password)
    return user if right else None


async def _rehashed(service: Service, user: User, password: str) -> User:
    if not passwords.outdated(service.settings, user.password):
        return user
    return user.having(password=await passwords.hashed(service.settings, password))


async def entered(
    service: Service,
    request: WebRequest,
    user: User,
    asked: str,
    *methods: str,
    cleared: tuple[RecordChange, ...] = (),
    read: User | None = None,
) -> WebResponse:
    """Go on after the password was right: to the second factor, to setting one up where the role needs it, or in. `read` as in
    `completed`."""
    if user.has_second_factor or why_second_factor(service, user):
        record, cookie = begin(service, request, user, *methods, waiting=True)
        await _committed(service, read or user, user, record, *cleared, *await _before(service, request))
        return redirect(onward("/oauth/second-factor" if user.has_second_factor else "/oauth/second-factor/set-up", asked), cookie)
    return await complete(service, request, user, asked, *methods, cleared=cleared, read=read)


async def complete(
    service: Service,
    request: WebRequest,
    user: User,
    asked: str,
    *methods: str,
    cleared: tuple[RecordChange, ...] = (),
    read: User | None = None,
) -> WebResponse:
    """Sign-in is done: on to what was asked for, or the account page. `read` as in `completed`."""
    cookies = await completed(service, request, user, *methods, cleared=cleared, read=read)
    return redirect(onward("/oauth/consent", asked) if asked else "/account", *cookies)


async def completed(
    service: Service,
    request: WebRequest,
    user: User,
    *methods: str,
    cleared: tuple[RecordChange, ...] = (),
    also: str = "",
    read: User | None = None,
) -> tuple[Cookie, ...]:
    """A new session in place of the browser's earlier one, for whoever has proved all that is needed. `user` is stored as it is given, over
    the state in which it was `read` (None: `user` itself); `also` is what else the audit is to tell. Raises OAuthError 409 where that
    state is gone."""
    record, cookie = begin(service, request, user, *methods)
    text = f"signed in ({' '.join(methods)}){'; ' if also else ''}{also}"
    happening = Happening("login", text, subject=user.name, address=request.address)
    before = await _before(service, request)
    await _committed(service, read or user, user, record, *cleared, *before, happening=happening, signed_in=service.clock())
    return cookie, delays.device_cookie(service, user.name)


async def _before(service: Service, request: WebRequest) -> tuple[RecordChange, ...]:
    """The end of the session that the browser had until now."""
    earlier = await current(service, request)
    return (ended(earlier[0]),) if earlier is not None else ()


async def _committed(
    service: Service, read: User, user: User, *records: RecordChange, happening: Happening | None = None, signed_in: int = 0
) -> None:
    """Store the user, over `read` however many sign in at the same moment, together with the records."""

    async def commit(stored: User) -> None:
        changed = user.over(stored)
        await service.commit(kept(changed.having(signed_in=signed_in or changed.signed_in)), *records, happening=happening)

    try:
        await stored_over(service, read, commit)
    except Conflict:
        raise OAuthError("conflict", "Somebody changed or used this account at the same moment. Sign in again.", 409) from None


def why_second_factor(service: Service, user: User) -> str:
    """Why the user may not go on with a password alone, as a sentence for them; "" where they may."""
    if user.second_factor_required:
        return "An administrator has decided that your account needs a second factor."
    return "Your role needs a second factor." if user.role in service.settings.mfa_roles.split() else ""


def asked_for(fields: dict[str, str]) -> str:
    """The id of the app's request that these fields carry, "" without one. Raises OAuthError 400 for what is no id."""
    asked = fields.get("request", "")
    if asked and not _REQUEST.fullmatch(asked):
        raise OAuthError("invalid_request", "This is not a request of an app. Go back to the app and begin again.", 400)
    return asked


def onward(path: str, asked: str) -> str:
    """The path, carrying the app's request along. Never leaves this server: `asked` is an id."""
    return f"{path}?request={asked}" if asked else path


async def _page(
    service: Service, request: WebRequest, asked: str, username: str = "", refusal: OAuthError | None = None, notice: str = ""
) -> WebResponse:
    form = Form(service, request)
    return page(
        service,
        "sign_in",
        status=refusal.status if refusal else 200,
        headers=dict(refusal.headers) if refusal else {},
        cookies=form.cookies,
        form_targets=await targets_of(service, asked),
        csrf=form.csrf,
        asked=asked,
        username=username[:100],
        problem=refusal.description if refusal else "",
        notice=notice,
        local=service.settings.sign_in != "oidc",
        outside=service.provider.name if service.provider is not None else "",
    )
