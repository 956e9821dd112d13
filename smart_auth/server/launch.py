"""The launch-context API: what an EHR tells this server before it starts an app, so that the app's token is about the right patient.

POST /oauth/launch, with an access token that has the scope `smart/orchestrate_launch`, of a member of staff or of a service. The answer's
`launch` is what the app hands on to /oauth/authorize (https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#launch-app-ehr-launch).
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from resources.store import ABSENT, RecordChange
from smart_auth.access import Access
from smart_auth.clients import Client, find_client
from smart_auth.errors import invalid_request
from smart_auth.happenings import Happening
from smart_auth.scopes import parse_scopes
from smart_auth.server.bearer import bearer, insufficient
from smart_auth.server.launch_request import LaunchRequest, read_launch_request
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


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Launch).decode
_EXTRA: Final = {
    "fhirContext": "fhir_context",
    "intent": "intent",
    "need_patient_banner": "need_patient_banner",
    "tenant": "tenant",
    "smart_style_url": "smart_style_url",
}
"""Member of the token response -> field of LaunchRequest."""


async def launch(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/launch: 201 with `launch`, `launch_url` (where the app has one) and `expires_in`.

    Raises OAuthError: invalid_token, insufficient_scope, invalid_request; StoreUnavailable.
    """
    access = await bearer(service, request)
    await _check_allowed(service, request, access)
    asked = read_launch_request(request.body, service.directory.types())
    client = await find_client(service.store, asked.client_id)
    if client is None or client.type == "backend":
        raise invalid_request("client_id: there is no such app")
    await _check_seen(service, Viewer(access, request.address), asked)
    plain = secrets.token_urlsafe(32)
    made = Launch(
        id=digest(plain),
        client=client.id,
        until=service.clock() + LASTS * _SECOND,
        patient=asked.patient or "",
        encounter=asked.encounter or "",
        user=await _user(service, access, asked),
        extra=_extra(client, asked),
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


async def _check_allowed(service: Service, request: WebRequest, access: Access) -> None:
    if SCOPE not in parse_scopes(access.scopes).words or (access.role and access.role not in STAFF):
        text = f"apps are started by staff or by a service, with the scope {SCOPE}"
        raise await insufficient(service, request, access, text)


async def _check_seen(service: Service, viewer: Viewer, asked: LaunchRequest) -> None:
    """What is named must be there for the caller: nobody learns by a launch what they could not read."""
    wanted: list[tuple[str, Mapping[str, str]]] = []
    if asked.patient:
        wanted.append((f"Patient/{asked.patient}", {}))
    if asked.encounter:
        wanted.append((f"Encounter/{asked.encounter}", {"patient": f"Patient/{asked.patient}"}))
    wanted += [(each.reference, {}) for each in asked.fhir_context or () if each.reference]
    for reference, narrowed in wanted:
        if not await service.directory.seen(reference, viewer, narrowed):
            raise invalid_request(f"{reference} is not there, or not for you to see")


def _extra(client: Client, asked: LaunchRequest) -> dict[str, Any]:
    found = {name: getattr(asked, field) for name, field in _EXTRA.items()}
    extra = {name: msgspec.to_builtins(value) for name, value in found.items() if value is not msgspec.UNSET}
    if client.fhir_context == "references" and "fhirContext" in extra:
        extra["fhirContext"] = _references(extra["fhirContext"])
    return {name: value for name, value in extra.items() if value != []}


def _references(context: list[dict[str, Any]]) -> list[str]:
    """What of it can be told by references alone: not what has none, nor what has another role than that the app is launched for it."""
    return [each["reference"] for each in context if "reference" in each and each.get("role", "launch") == "launch"]


async def _user(service: Service, access: Access, asked: LaunchRequest) -> str:
    """Who may go on with the launch: the user who makes it, or whom a service names."""
    if access.role:
        if asked.user and asked.user != access.subject:
            raise invalid_request("user can only be named by a service; your launches are for yourself")
        return access.subject
    if not asked.user:
        return ""
    user = await find_user(service.store, asked.user)
    if user is None:
        raise invalid_request("user: there is nobody of that name")
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
