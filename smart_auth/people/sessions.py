"""Sessions of people who have signed in: a random cookie, kept as its hash, ended by time, by sign-out, or from the account page.

A session begins `waiting` where a second factor is still to come; such a one opens nothing but the pages for that.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from resources.store import ANY, Conflict, Record, RecordChange
from smart_auth.errors import OAuthError
from smart_auth.people.browser import SESSION, check_form, cookie, cookie_of
from smart_auth.sealing import WrongSecret
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.users import User, find_user
from smart_auth.web import Cookie, WebRequest

KIND: Final = "session"
AGAIN: Final = "/oauth/sign-in?notice=again"
"""Where people go whose sign-in is too long ago for what they want to change."""
_WAITING = 600_000_000
"""Microseconds for which the second factor may take."""
_NOTED = 60_000_000
"""Microseconds after which it is noted again that a session is used."""
_FRESH = 900_000_000
"""Microseconds after sign-in in which passwords and second factors may be changed: a browser left open is not enough."""
_MOST_AGENT = 200


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """One session. `id` is the hash of its cookie, `user` a user's name, `csrf` what its forms carry; `started` and `seen` are
    microseconds since the epoch. `methods` is how the user proved who it is, as RFC 8176 names it: `pwd`, `otp`, `hwk`, `mfa`.
    `waiting`: the second factor is missing. `note` is what the pages for second factors have to remember until the next request (a
    challenge, a secret that is not in use yet), sealed. `spared` is when its user changed the password and kept this session alone."""

    id: str
    user: str
    csrf: str
    started: int
    seen: int
    methods: tuple[str, ...] = ("pwd",)
    address: str = ""
    agent: str = ""
    waiting: bool = False
    note: str = ""
    spared: int = 0
    revision: int = 0

    def having(self, **changes: object) -> "Session":
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Session).decode
_decode_note = msgspec.json.Decoder(dict[str, str]).decode


def begin(service: Service, request: WebRequest, user: User, *methods: str, waiting: bool = False) -> tuple[RecordChange, Cookie]:
    """A new session: what to commit, and the cookie for the browser. Its id is always new, whatever the browser sent."""
    value, now = secrets.token_urlsafe(32), service.clock()
    agent = "".join(c for c in request.headers.get("user-agent", "")[:_MOST_AGENT] if c.isprintable())
    session = Session(digest(value), user.name, secrets.token_urlsafe(32), now, now, methods, request.address, agent, waiting)
    return kept(service, session), cookie(service, SESSION, value)


def kept(service: Service, session: Session) -> RecordChange:
    """The change that stores the session until it ends by itself."""
    settings = service.settings
    idle, absolute = settings.session_idle * 60_000_000, settings.session_hours * 3_600_000_000
    expires = session.started + _WAITING if session.waiting else min(session.seen + idle, session.started + absolute)
    value = _encode(session.having(revision=0))
    return RecordChange(KIND, session.id, value, session.revision, (f"user:{session.user}",), expires)


def ended(session: Session) -> RecordChange:
    """The change that ends the session; a waiting one only as it was read, because it serves one sign-in."""
    return RecordChange(KIND, session.id, None, session.revision if session.waiting else ANY)


def noted(service: Service, session: Session) -> dict[str, str]:
    """What the session's note says, by name; nothing where it was sealed with an earlier FHIR_SECRET."""
    if not session.note:
        return {}
    try:
        return _decode_note(service.sealer.open(urlsafe_b64decode(session.note), f"session/{session.id}"))
    except WrongSecret:
        return {}


async def note(service: Service, session: Session, **values: str) -> Session:
    """Put these values into the session's note ("" takes one out). Raises OAuthError 409 where another request did so meanwhile."""
    text = {name: value for name, value in {**noted(service, session), **values}.items() if value}
    sealed = urlsafe_b64encode(service.sealer.seal(msgspec.json.encode(text), f"session/{session.id}")).decode() if text else ""
    try:
        await service.commit(kept(service, session.having(note=sealed)))
    except Conflict:
        raise OAuthError("conflict", "This page was opened twice at the same moment. Load it again.", 409) from None
    record = await service.store.record(KIND, session.id)
    if record is None:
        raise _gone()
    return _read(record)


def fresh(service: Service, session: Session) -> bool:
    """Whether the user has proved who it is so recently that the means of sign-in may be changed."""
    return service.clock() - session.started < _FRESH


async def current(service: Service, request: WebRequest) -> tuple[Session, User] | None:
    """The session that the browser's cookie names, waiting or not, and its user; None where there is none any more, or the user is
    disabled or removed. Raises StoreUnavailable."""
    value = cookie_of(service, request, SESSION)
    record = await service.store.record(KIND, digest(value)) if 0 < len(value) <= 64 else None
    if record is None:
        return None
    session = _read(record)
    if service.clock() >= record.expires:
        return None
    user = await find_user(service.store, session.user)
    if user is None or user.disabled or not counts(session, user):
        return None
    return await _noted(service, session), user


def counts(session: Session, user: User) -> bool:
    """Whether the session began, or was spared, since all sessions of the user were last ended."""
    return max(session.started, session.spared) >= user.sessions_from


async def signed_in(service: Service, request: WebRequest) -> tuple[Session, User] | None:
    """Like `current`, but only where sign-in is complete."""
    found = await current(service, request)
    return found if found is not None and not found[0].waiting else None


async def required(service: Service, request: WebRequest) -> tuple[Session, User]:
    """The session and the user of a form that only people who have signed in can send, its token checked. Raises OAuthError 403."""
    session, user = await checked(service, request)
    if session.waiting:
        raise _gone()
    return session, user


async def checked(service: Service, request: WebRequest) -> tuple[Session, User]:
    """The same for forms that are sent during sign-in too."""
    found = await current(service, request)
    if found is None:
        raise _gone()
    check_csrf(service, request, found[0])
    return found


def _gone() -> OAuthError:
    return OAuthError("forbidden", "You are no longer signed in. Sign in again.", 403)


def check_csrf(service: Service, request: WebRequest, session: Session) -> None:
    """Make sure that a form of this session was sent by a page of ours (field `csrf`). Raises OAuthError 403."""
    check_form(service, request, session.csrf)


async def sessions_of(service: Service, user: str) -> list[Session]:
    """All sessions of a user that are complete, newest first. Raises StoreUnavailable."""
    found = [_read(record) for record in await service.tagged(KIND, f"user:{user}")]
    return sorted((each for each in found if not each.waiting), key=lambda each: -each.seen)


async def all_ended(service: Service, user: str, *, but: str = "") -> list[RecordChange]:
    """The changes that end all sessions of a user, waiting ones too, but the one of this id."""
    return [RecordChange(KIND, record.key, None) for record in await service.tagged(KIND, f"user:{user}") if record.key != but]


async def still_there(service: Service, id: str, user: User) -> bool:
    """Whether the session that has this id is still good for the user. Raises StoreUnavailable."""
    record = await service.store.record(KIND, id)
    return record is not None and service.clock() < record.expires and counts(_read(record), user)


async def _noted(service: Service, session: Session) -> Session:
    """The session, with the time of its use where that has not been noted for a while. Two requests at once: one of them notes it."""
    now = service.clock()
    if session.waiting or now - session.seen < _NOTED:
        return session
    used = session.having(seen=now)
    try:
        await service.commit(kept(service, used))
    except Conflict:
        return session
    record = await service.store.record(KIND, session.id)
    return _read(record) if record is not None else session


def _read(record: Record) -> Session:
    return _decode(record.value).having(revision=record.revision)
