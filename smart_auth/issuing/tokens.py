"""Access and refresh tokens for an authorization, and the token response (RFC 6749, 5.1; SMART App Launch 2.2, 3.2)."""

import secrets
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from resources.store import ABSENT, RecordChange
from smart_auth.access import Access
from smart_auth.clients import Client
from smart_auth.happenings import Happening
from smart_auth.issuing.authorization import REFRESH, Authorization, kept
from smart_auth.narrowing import common
from smart_auth.roles import most
from smart_auth.scopes import Scopes, parse_scopes
from smart_auth.service import Service
from smart_auth.tokens import digest, issue
from smart_auth.users import User, find_user
from smart_auth.web import WebResponse, as_json

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND


class Refresh(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a refresh token stands for. `session`: the sign-in that it ends with (online_access), "" where it does not."""

    grant: str
    client: str
    session: str = ""
    used: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """What is to be given out once `changes` and the AuditEvent of `happening` are committed."""

    access_token: str
    access: Access
    authorization: Authorization
    changes: tuple[RecordChange, ...]
    happening: Happening
    refresh_token: str = ""


_encode = msgspec.json.Encoder().encode


def issue_for(
    service: Service, client: Client, user: User, authorization: Authorization, *, narrowed: Scopes | None = None, address: str = ""
) -> Issued:
    """New tokens. `narrowed`: the scopes of this access token, where it is to have less than the authorization; never more than client and
    role have now. A refresh token is among them where offline_access or online_access was granted."""
    now = service.clock()
    granted = possible_now(client, user, parse_scopes(authorization.scopes))
    scopes = granted if narrowed is None else common(narrowed, granted)
    expires = now + service.settings.token_ttl * _SECOND
    access = Access(
        subject=user.name,
        client=client.id,
        scopes=scopes.text,
        expires=expires,
        issued=now,
        role=user.role,
        patient=authorization.patient,
        encounter=authorization.encounter,
        fhir_user=user.fhir_user,
        grant=authorization.id,
        client_name=client.name,
        user_name=user.shown,
        extra=authorization.extra,
        deidentified=client.deidentified,
    )
    token, stored = issue(access)
    refresh_token, changes = "", [stored]
    if (kind := refreshable(parse_scopes(authorization.scopes))) is not None:
        refresh_token = secrets.token_urlsafe(32)
        expires = now + service.settings.refresh_ttl_days * _DAY
        held = Refresh(authorization.id, client.id, authorization.session if kind == "online_access" else "")
        changes.append(RecordChange(REFRESH, digest(refresh_token), _encode(held), ABSENT, _tags(authorization), expires))
    used = msgspec.structs.replace(authorization, used=now, expires=max(expires, access.expires))
    changes.insert(0, kept(used))
    return Issued(token, access, used, tuple(changes), _happening(access, address), refresh_token)


def possible_now(client: Client, user: User, granted: Scopes) -> Scopes:
    """What is left of what was granted once client and user have changed."""
    return within_user(common(granted, client.most), user)


def within_user(scopes: Scopes, user: User) -> Scopes:
    """What of it a user can grant: no more than the role has, and not who the user is where that is nobody."""
    return common(answerable(scopes, user), most(user.role), words=False)


def answerable(scopes: Scopes, user: User) -> Scopes:
    """The scopes without `fhirUser` where the user is tied to no person: it would tell nothing."""
    if user.fhir_user:
        return scopes
    return Scopes(scopes.resources, tuple(word for word in scopes.words if word.partition("?")[0] != "fhirUser"), scopes.unknown)


def refreshable(scopes: Scopes) -> str | None:
    """The word by which a refresh token was asked for, offline_access before online_access, or None."""
    return next((word for word in ("offline_access", "online_access") if word in scopes.words), None)


async def person_of(service: Service, authorization: Authorization | None) -> User | None:
    """The user who gave the authorization, while there is one who may sign in. Raises StoreUnavailable."""
    user = await find_user(service.store, authorization.user) if authorization is not None else None
    return None if user is None or user.disabled else user


def token_response(service: Service, issued: Issued, *, id_token: str = "") -> WebResponse:
    """200 with all that the app has to know."""
    access = issued.access
    body: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": (access.expires - access.issued) // _SECOND,
        "scope": access.scopes,
    }
    more = {
        "patient": access.patient,
        "encounter": access.encounter,
        "id_token": id_token,
        "refresh_token": issued.refresh_token,
    }
    return as_json(body | access.extra | {name: value for name, value in more.items() if value})


def _tags(authorization: Authorization) -> tuple[str, ...]:
    return (f"grant:{authorization.id}", f"client:{authorization.client}", f"subject:{authorization.user}")


def _happening(access: Access, address: str) -> Happening:
    return Happening(
        "token",
        f"tokens were issued to {access.client_name}: {access.scopes}",
        subject=access.subject,
        client=access.client,
        address=address,
        about=(f"client/{access.client}",),
        patient=f"Patient/{access.patient}" if access.patient else "",
    )
