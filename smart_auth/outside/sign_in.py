"""Sign-in at the outside OpenID provider: there with a state that counts once and in this browser only, back with a user record.

Users from there have no password here. Their names begin with `outside:`: what the provider calls somebody makes nobody a local user.
"""

import hmac
import logging
import re
import secrets
from typing import Any, Final

import msgspec

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.errors import OAuthError, invalid_request
from smart_auth.happenings import Happening
from smart_auth.issuing.authorization import revoke_all
from smart_auth.outside.claims import text, values
from smart_auth.outside.provider import NotSignedIn, Provider
from smart_auth.people.browser import BROWSER, cookie, known_browser
from smart_auth.people.sessions import all_ended
from smart_auth.people.sign_in import asked_for, complete, entered, why_second_factor
from smart_auth.server.pending import load_pending
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.users import User, find_user, kept
from smart_auth.web import WebRequest, WebResponse, redirect

_log = logging.getLogger("fhir_server")

KIND: Final = "outside-sign-in"
LASTS: Final = 600_000_000
"""Microseconds for which the provider may keep somebody."""
PREFIX: Final = "outside:"
_PLAIN: Final = re.compile(r"[a-z0-9._\-]{1,60}", re.ASCII)
_METHOD: Final = re.compile(r"[a-z]{2,8}", re.ASCII)
_STRONG: Final = frozenset(("mfa", "otp", "hwk", "swk", "fpt", "sc", "pop"))
"""Methods of RFC 8176 that are more than a password."""
_LONGEST_STATE: Final = 64
_LONGEST_DISPLAY: Final = 100


class _Begun(msgspec.Struct, frozen=True):
    """A sign-in on its way: what was sent along, the hash of the browser's cookie, what comes after. `since` as in Provider.claims."""

    nonce: str
    verifier: str
    browser: str
    asked: str
    since: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Begun).decode


async def begin(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/outside/sign-in?request=ID: to the provider. Raises OAuthError, IssuerUnavailable."""
    provider = _provider(service)
    asked = asked_for(request.single())
    again = bool(asked) and (await load_pending(service, asked)).signed_in_after > 0
    known = known_browser(service, request)
    browser = known or secrets.token_urlsafe(32)
    state, now = secrets.token_urlsafe(32), service.clock()
    begun = _Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(48), digest(browser), asked, now // 1_000_000 if again else 0)
    address = await provider.address(state, begun.nonce, begun.verifier, again=again)
    sealed = service.sealer.seal(_encode(begun), f"{KIND}/{digest(state)}")
    await service.commit(RecordChange(KIND, digest(state), sealed, ABSENT, expires=now + LASTS))
    return redirect(address, *(() if known else (cookie(service, BROWSER, browser),)))


async def back(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/outside/callback: from the provider. Signs in whom it names, or says why not. Raises OAuthError, IssuerUnavailable."""
    provider, answer = _provider(service), request.single()
    begun = await _begun(service, request, answer.get("state", ""))
    try:
        await provider.check_origin(answer.get("iss"))
        if "error" in answer:
            raise NotSignedIn("the provider says no")
        claims = await provider.claims(answer.get("code", ""), begun.nonce, begun.verifier, begun.since)
    except NotSignedIn as why:
        _log.warning("nobody was signed in from outside: %s", why)
        await _refused(service, request, f"sign-in from outside refused: {why}")
        raise OAuthError("access_denied", f"Signing in at {provider.name} did not work. Go back and try again.", 403) from None
    user = await _user(service, request, provider, claims)
    methods = tuple(each for each in values(claims, "amr")[:8] if _METHOD.fullmatch(each))
    if not _STRONG.isdisjoint(methods) or not (user.has_second_factor or why_second_factor(service, user)):
        return await complete(service, request, user, begun.asked, "ext", *methods)
    return await entered(service, request, user, begun.asked, "ext", *methods)


def _provider(service: Service) -> Provider:
    if service.provider is None:
        raise OAuthError("not_found", "People sign in with a password here.", 404)
    return service.provider


async def _begun(service: Service, request: WebRequest, state: str) -> _Begun:
    """What was begun with this state in this browser; it counts once. Raises OAuthError."""
    record = await service.store.record(KIND, digest(state)) if 0 < len(state) <= _LONGEST_STATE else None
    if record is None:
        raise invalid_request("This sign-in has taken too long or was finished already: go back and start again")
    begun = _decode(service.sealer.open(record.value, f"{KIND}/{record.key}"))
    if not hmac.compare_digest(begun.browser, digest(known_browser(service, request))):
        raise invalid_request("This sign-in was begun in another browser: go back and start again")
    try:
        await service.commit(RecordChange(KIND, record.key, None, record.revision))
    except Conflict:
        raise invalid_request("This sign-in was finished already: go back and start again") from None
    return begun


async def _user(service: Service, request: WebRequest, provider: Provider, claims: dict[str, Any]) -> User:
    """The user record of whom the claims name, made or brought up to date (it is stored by whoever completes the sign-in)."""
    role, outside = provider.mapped.role(claims), f"{provider.issuer.url} {claims['sub']}"
    name = user_name(claims["sub"])
    known = await find_user(service.store, name)
    if known is not None and (known.disabled or known.outside != outside):
        await _refused(service, request, "sign-in from outside refused: the account is disabled or somebody else's", known)
        raise OAuthError("access_denied", "This account cannot be used. Ask whoever runs this server.", 403)
    if not role:
        if known is not None:
            await _end_access(service, request, known, known, "the provider gives the user no role any more")
        await _refused(service, request, "sign-in from outside refused: no role here", known)
        raise OAuthError(
            "access_denied",
            f"You are known at {provider.name}, but have no role here. Ask whoever runs this server to give you one.",
            403,
        )
    display = "".join(c for c in text(claims, "name", "preferred_username") if c.isprintable())[:_LONGEST_DISPLAY]
    reference = provider.mapped.reference(claims)
    user = (known or User(name, role)).having(role=role, fhir_user=reference, display=display, outside=outside, password="")
    if known is None or (known.role, known.fhir_user) == (user.role, user.fhir_user):
        return user
    return await _end_access(service, request, known, user, "the provider has changed the user's role or person")


async def _end_access(service: Service, request: WebRequest, known: User, user: User, why: str) -> User:
    """Store the user, over `known`, and end all that was begun with the role and person of before: sessions, and the access of apps. That
    comes first, so that whatever happens here the next sign-in still sees the change; and again, for what was allowed meanwhile.
    Returns the user as it is stored. Raises OAuthError 409 where it was changed meanwhile, StoreUnavailable."""
    await revoke_all(service, user=known.name, by=known.name, why=why)
    happening = Happening("user", why, subject=user.name, address=request.address, about=(f"user/{user.name}",))
    changed = user.having(sessions_from=service.clock())
    try:
        await service.commit(kept(changed), *await all_ended(service, known.name), happening=happening)
    except Conflict:
        raise OAuthError("conflict", "Somebody changed or used this account at the same moment. Sign in again.", 409) from None
    await revoke_all(service, user=known.name, by=known.name, why=why)
    return await find_user(service.store, known.name) or user


def user_name(subject: str) -> str:
    """What a user from outside is called here. Names here do not tell small letters from capitals and subjects there do, so a subject
    that has any is hashed."""
    return f"{PREFIX}{subject if _PLAIN.fullmatch(subject) else digest(subject)}"


async def _refused(service: Service, request: WebRequest, what: str, user: User | None = None) -> None:
    happening = Happening("login", what, "4", user.name if user is not None else "", address=request.address)
    await service.commit(happening=happening)
