"""The launch-context API: what an EHR tells this server before it starts an app, so that the app's token is about the right patient.

POST /oauth/launch, with an access token that has the scope `smart/orchestrate_launch`, of a member of staff or of a service. The answer's
`launch` is what the app hands on to /oauth/authorize (https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#launch-app-ehr-launch).
"""

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec

from resources.store import ABSENT, RecordChange
from smart_auth.access import Access
from smart_auth.clients import Client, find_client
from smart_auth.errors import invalid_request
from smart_auth.happenings import Happening
from smart_auth.registration.redirect_uris import check_launch_uri
from smart_auth.scopes import parse_scopes
from smart_auth.server.bearer import bearer, insufficient
from smart_auth.service import Service, Viewer
from smart_auth.tokens import digest
from smart_auth.users import find_user
from smart_auth.web import WebRequest, WebResponse, as_json

KIND: Final = "launch"
LASTS: Final = 300
"""Seconds within which the app has to come to /oauth/authorize with a launch."""
ANSWERED_WITHIN: Final = 1_800
"""Seconds more within which the user has to answer."""
SCOPE: Final = "smart/orchestrate_launch"
STAFF: Final = frozenset(("practitioner", "front-desk", "admin"))
"""Roles whose users may grant that scope, and start apps with it."""

_SECOND: Final = 1_000_000
_LONGEST: Final = 128
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)

_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}\Z")]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Uri = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class Launch(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an app is started with. `id` is the SHA-256 of what the app is given, `until` the instant (microseconds) up to which it may be
    used at /oauth/authorize; `user` is the one who may go on ("": anybody). `extra` are further members of the token response:
    fhirContext, intent, need_patient_banner, tenant, smart_style_url."""

    id: str
    client: str
    until: int
    patient: str = ""
    encounter: str = ""
    user: str = ""
    extra: dict[str, Any] = {}
    revision: int = 0


class _Context(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of fhirContext (https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#fhircontext-exp)."""

    reference: _Uri | msgspec.UnsetType = msgspec.UNSET
    canonical: _Uri | msgspec.UnsetType = msgspec.UNSET
    identifier: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    type: _Text | msgspec.UnsetType = msgspec.UNSET
    role: _Uri | msgspec.UnsetType = msgspec.UNSET


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    client_id: _Text
    patient: _Id | msgspec.UnsetType = msgspec.UNSET
    encounter: _Id | msgspec.UnsetType = msgspec.UNSET
    fhir_context: Annotated[list[_Context], msgspec.Meta(max_length=50)] | msgspec.UnsetType = msgspec.field(
        name="fhirContext", default=msgspec.UNSET
    )
    intent: _Text | msgspec.UnsetType = msgspec.UNSET
    need_patient_banner: bool | msgspec.UnsetType = msgspec.UNSET
    tenant: _Text | msgspec.UnsetType = msgspec.UNSET
    smart_style_url: _Uri | msgspec.UnsetType = msgspec.UNSET
    user: _Text | msgspec.UnsetType = msgspec.UNSET


_asked = msgspec.json.Decoder(_Asked).decode
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Launch).decode
_EXTRA: Final = {
    "fhirContext": "fhir_context",
    "intent": "intent",
    "need_patient_banner": "need_patient_banner",
    "tenant": "tenant",
    "smart_style_url": "smart_style_url",
}
"""Member of the token response -> field of _Asked."""


async def launch(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/launch: 201 with `launch`, `launch_url` (where the app has one) and `expires_in`.

    Raises OAuthError: invalid_token, insufficient_scope, invalid_request; StoreUnavailable.
    """
    access = await bearer(service, request)
    _check_allowed(access)
    asked = _read(request.body)
    client = await find_client(service.store, asked.client_id)
    if client is None or client.type == "backend":
        raise invalid_request("client_id is not that of an app")
    await _check_seen(service, Viewer(access, request.address), asked)
    plain = secrets.token_urlsafe(32)
    made = Launch(
        id=digest(plain),
        client=client.id,
        until=service.clock() + LASTS * _SECOND,
        patient=asked.patient or "",
        encounter=asked.encounter or "",
        user=await _user(service, access, asked),
        extra=_extra(asked),
    )
    expires = made.until + ANSWERED_WITHIN * _SECOND
    change = RecordChange(KIND, made.id, _encode(made), ABSENT, (f"client:{client.id}",), expires)
    await service.commit(change, happening=_happening(access, client, made, request.address))
    return as_json({"launch": plain, **_url(service, client, plain), "expires_in": LASTS}, 201)


async def find_launch(service: Service, client: Client, plain: str) -> Launch | None:
    """What an app was started with, when it comes with `launch` to /oauth/authorize; None for what is unknown, too old, used or another
    app's. Raises StoreUnavailable."""
    found = await kept_launch(service, digest(plain)) if 0 < len(plain) <= _LONGEST else None
    return found if found is not None and found.client == client.id and service.clock() < found.until else None


async def kept_launch(service: Service, id: str) -> Launch | None:
    """A launch by its `id`, while the user has time to answer; None once it was used. Raises StoreUnavailable."""
    record = await service.store.record(KIND, id)
    return None if record is None else msgspec.structs.replace(_decode(record.value), revision=record.revision)


def used(launch: Launch) -> RecordChange:
    """What has to be committed with the code that the launch leads to: of several codes for one launch, one is given out."""
    return RecordChange(KIND, launch.id, None, launch.revision)


def _check_allowed(access: Access) -> None:
    if SCOPE not in parse_scopes(access.scopes).words or (access.role and access.role not in STAFF):
        raise insufficient(f"apps are started by staff or by a service, with the scope {SCOPE}")


def _read(body: bytes) -> _Asked:
    try:
        asked = _asked(body)
    except (msgspec.DecodeError, RecursionError):
        raise invalid_request("send a JSON object with client_id and what the app is to be started with, such as patient") from None
    if asked.smart_style_url:
        try:
            check_launch_uri(asked.smart_style_url)
        except ValueError:
            raise invalid_request("smart_style_url must begin with https://") from None
    for each in asked.fhir_context or ():
        if not (each.reference or each.canonical or each.identifier):
            raise invalid_request("each fhirContext needs a reference, a canonical or an identifier")
    if asked.encounter and not asked.patient:
        raise invalid_request("an encounter needs its patient")
    return asked


async def _check_seen(service: Service, viewer: Viewer, asked: _Asked) -> None:
    """What is named must be there for the caller: nobody learns by a launch what they could not read."""
    wanted: list[tuple[str, Mapping[str, str]]] = []
    if asked.patient:
        wanted.append((f"Patient/{asked.patient}", {}))
    if asked.encounter:
        wanted.append((f"Encounter/{asked.encounter}", {"patient": f"Patient/{asked.patient}"}))
    wanted += [(_reference(service, each.reference), {}) for each in asked.fhir_context or () if each.reference]
    for reference, narrowed in wanted:
        if not await service.directory.seen(reference, viewer, narrowed):
            raise invalid_request(f"{reference} is not there, or not for you to see")


def _reference(service: Service, reference: str) -> str:
    type, _, id = reference.partition("/")
    if type not in service.directory.types() or not _ID.fullmatch(id):
        raise invalid_request("a reference in fhirContext must be relative, such as ImagingStudy/123")
    if type in ("Patient", "Encounter"):
        raise invalid_request(f"the {type} is named by the member {type.lower()}, not in fhirContext")
    return reference


def _extra(asked: _Asked) -> dict[str, Any]:
    found = {name: getattr(asked, field) for name, field in _EXTRA.items()}
    return {name: msgspec.to_builtins(value) for name, value in found.items() if value is not msgspec.UNSET}


async def _user(service: Service, access: Access, asked: _Asked) -> str:
    """Who may go on with the launch: the user who makes it, or whom a service names."""
    if access.role:
        if asked.user and asked.user != access.subject:
            raise invalid_request("user can only be named by a service; your launches are for yourself")
        return access.subject
    if not asked.user:
        return ""
    user = await find_user(service.store, asked.user)
    if user is None:
        raise invalid_request("user is not the name of a user")
    return user.name


def _url(service: Service, client: Client, plain: str) -> dict[str, str]:
    if not client.launch_uri:
        return {}
    mark = "&" if "?" in client.launch_uri else "?"
    return {"launch_url": f"{client.launch_uri}{mark}{urlencode({'iss': service.urls.base, 'launch': plain})}"}


def _happening(access: Access, client: Client, made: Launch, address: str) -> Happening:
    return Happening(
        "launch",
        f"a launch of {client.name} was prepared",
        subject=access.subject,
        client=access.client,
        address=address,
        about=(f"client/{client.id}", *((f"Encounter/{made.encounter}",) if made.encounter else ())),
        patient=f"Patient/{made.patient}" if made.patient else "",
    )
