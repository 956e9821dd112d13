"""A forgotten password: a link by mail, good once and for half an hour. Who asks learns nothing of who has an account."""

import secrets
from typing import Final

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.pages.rendering import page
from smart_auth.people import delays, mail, passwords
from smart_auth.people.browser import Form, check_browser
from smart_auth.people.sessions import all_ended
from smart_auth.people.storing import stored_over
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.users import User, email_tag, find_user, find_users, kept, normalised
from smart_auth.web import WebRequest, WebResponse, redirect

KIND: Final = "password-reset"
MINUTES: Final = 30
MOST: Final = 10
"""Links of one user that are good at the same time. Each costs whoever asks for it a longer wait (`delays`)."""
BY_HAND_MINUTES: Final = 24 * 60
"""For a link that an administrator hands over."""
_GONE: Final = "This link was used already, or it is too old. Ask for a new one."


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/reset: asks whose password it is. With `token`, the link of the mail: asks for the new password, and uses nothing up,
    because mail programs look at links too."""
    token = request.single().get("token", "")
    if not token:
        return _ask(service, request)
    if await _owner(service, token) is None:
        return _ask(service, request, problem=_GONE)
    return _choose(service, request, token)


async def ask(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/reset: `username`, a name or a mail address. Always the same answer, at once; looking up and sending come after it."""
    check_browser(service, request)
    text = request.single().get("username", "")[:400]
    try:
        await delays.attempt(service, request, "reset", normalised(text))
    except OAuthError as refusal:
        return _ask(service, request, problem=refusal.description, status=refusal.status, headers=dict(refusal.headers))
    if service.settings.smtp_url is not None and text.strip():
        mail.beside(_sent(service, text, request.address))
    return _ask(service, request, done=True)


async def choose(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/reset/password: `token`, `password`. Ends all sessions of the user, who then signs in, second factor included."""
    check_browser(service, request)
    form = request.single()
    token, password = form.get("token", ""), form.get("password", "")
    owner = await _owner(service, token)
    if owner is None:
        return _ask(service, request, problem=_GONE)
    user, revision = owner
    refused = passwords.problem(service.settings, password, user.name, user.email)
    if refused is not None:
        return _choose(service, request, token, refused)
    hashed = await passwords.hashed(service.settings, password)
    happening = Happening("credentials", "password reset by a link", subject=user.name, address=request.address)
    used = RecordChange(KIND, digest(token), None, revision)

    async def commit(stored: User) -> None:
        changed = stored.having(password=hashed, sessions_from=service.clock())
        others = [each for each in await links_ended(service, user.name) if each.key != used.key]
        await service.commit(used, kept(changed), *others, *await all_ended(service, user.name), happening=happening)

    try:
        await stored_over(service, user, commit)
    except Conflict:
        return _ask(service, request, problem=_GONE)
    mail.tell(service.settings, user, "Your password was set anew with the link that you were sent.")
    # whoever reads the user's mail is no guesser: this browser's tries at the password count for themselves from now on
    return redirect("/oauth/sign-in?notice=password", delays.device_cookie(service, user.name, by_mail=True))


async def make_link(service: Service, user: User, minutes: int, happening: Happening) -> str:
    """A new link for the user. The newest before it stay good until one is used: anybody may ask for links, and must not make the one that
    its owner has just received good for nothing. Raises StoreUnavailable."""
    token = secrets.token_urlsafe(32)
    expires = service.clock() + minutes * 60_000_000
    made = RecordChange(KIND, digest(token), user.name.encode(), ABSENT, (f"user:{user.name}",), expires)
    before = sorted(await service.tagged(KIND, f"user:{user.name}"), key=lambda record: -record.expires)
    await service.commit(made, *(RecordChange(KIND, each.key, None) for each in before[MOST - 1 :]), happening=happening)
    return f"{service.urls.issuer}/oauth/reset?token={token}"


async def links_ended(service: Service, name: str) -> list[RecordChange]:
    """The changes that make all links of a user good for nothing."""
    return [RecordChange(KIND, each.key, None) for each in await service.tagged(KIND, f"user:{name}")]


async def _sent(service: Service, text: str, address: str) -> None:
    user = await _meant(service, text)
    if user is None or user.disabled or user.outside or not user.email:  # who signs in elsewhere gets no password here
        return
    happening = Happening("credentials", "password reset asked for", subject=user.name, address=address)
    link = await make_link(service, user, MINUTES, happening)
    body = (
        f"Somebody, most likely you, asked to set a new password for {user.name} at {service.settings.sign_in_name}.\n\n"
        f"Set it here within {MINUTES} minutes:\n{link}\n\n"
        "If it was not you, you need not do anything: your password stays as it is.\n"
    )
    await mail.send(service.settings, user.email, f"A new password for {service.settings.sign_in_name}", body)


async def _meant(service: Service, text: str) -> User | None:
    """The user of this name, or the only one with this mail address."""
    if (user := await find_user(service.store, text)) is not None or "@" not in text:
        return user
    found = await find_users(service.store, tag=email_tag(text), limit=2)
    return found[0] if len(found) == 1 else None


async def _owner(service: Service, token: str) -> tuple[User, int] | None:
    """Whose link this is, and the revision of its record; None for one that is good no more."""
    record = await service.store.record(KIND, digest(token)) if 0 < len(token) <= 64 else None
    if record is None or service.clock() >= record.expires:
        return None
    user = await find_user(service.store, record.value.decode())
    return (user, record.revision) if user is not None and not user.disabled else None


def _ask(
    service: Service,
    request: WebRequest,
    *,
    problem: str = "",
    done: bool = False,
    status: int = 400,
    headers: dict[str, str] | None = None,
) -> WebResponse:
    form, can = Form(service, request), service.settings.smtp_url is not None
    return page(
        service, "reset", status=status if problem else 200, headers=headers or {}, cookies=form.cookies,
        csrf=form.csrf, problem=problem, done=done, can=can, minutes=MINUTES,
    )  # fmt: skip


def _choose(service: Service, request: WebRequest, token: str, problem: str = "") -> WebResponse:
    form = Form(service, request)
    return page(
        service, "reset_password", status=400 if problem else 200, cookies=form.cookies,
        csrf=form.csrf, token=token, problem=problem, length=service.settings.password_length,
    )  # fmt: skip
