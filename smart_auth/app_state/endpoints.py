"""/app-state/Basic: what an app keeps for a user, for access tokens with the scope `smart/app-state`.

Each app sees, for each user, its own state only. Its subject is the user (`fhirUser`), the patient of the token's context, or nobody.
Changes need If-Match; one that comes too late is answered with 412 (https://hl7.org/fhir/R4/http.html#concurrency).
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from resources.instants import instant_text
from resources.outcomes import FhirError, bad_request, error, not_found, precondition_failed
from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.access import Access
from smart_auth.app_state.documents import LARGEST, Basic, bundle, read_basic, stamped
from smart_auth.happenings import Happening, Outcome
from smart_auth.openid.subjects import subject_of
from smart_auth.scopes import parse_scopes
from smart_auth.server.bearer import bearer, insufficient, refused
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.web import NO_STORE, WebRequest, WebResponse, WebRoute

KIND: Final = "app-state"
SCOPE: Final = "smart/app-state"
PATH: Final = "/app-state"
MOST: Final = 50
"""Documents of one app for one user."""
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ETAG: Final = re.compile(r'(?:W/)?"([0-9]{1,18})"', re.ASCII)
_FHIR: Final = "application/fhir+json"


class State(msgspec.Struct, frozen=True):
    """What is kept of one document: whose it is (an app for a user), which version, what it is found by, and its bytes."""

    owner: str
    version: int
    coding: str
    about: str
    body: msgspec.Raw


class Caller(msgspec.Struct, frozen=True):
    """Whose token it is: the app for the user (`owner`), and whom its state may be about, as absolute and relative references."""

    access: Access
    owner: str
    subjects: frozenset[str]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(State).decode
Handler = Callable[[Service, Caller, WebRequest], Awaitable[WebResponse]]


def _called(handler: Handler) -> Callable[[Service, WebRequest], Awaitable[WebResponse]]:
    """The endpoint of a handler: who calls is looked up, and what is refused is recorded too."""

    @wraps(handler)
    async def endpoint(service: Service, request: WebRequest) -> WebResponse:
        caller = await _caller(service, request)
        try:
            return await handler(service, caller, request)
        except FhirError as refusal:
            why = f"{refusal.status} {refusal.issues[0].code}"
            await service.commit(happening=_happening(caller, "tried", refused(request, why), request, "4"))
            raise

    return endpoint


async def _caller(service: Service, request: WebRequest) -> Caller:
    access = await bearer(service, request)
    if SCOPE not in parse_scopes(access.scopes).words or not access.role:
        text = f"the access token of a user with the scope {SCOPE} is needed"
        raise await insufficient(service, request, access, text)
    owner = digest(f"{access.client} {await subject_of(service, access.subject)}")
    about = [each for each in (access.fhir_user, f"Patient/{access.patient}" if access.patient else "") if each]
    names = frozenset((*about, *(f"{base}/{each}" for base in service.urls.bases for each in about)))
    return Caller(access, owner, names)


@_called
async def create(service: Service, caller: Caller, request: WebRequest) -> WebResponse:
    """POST /app-state/Basic: 201 with the document as it is kept."""
    document = read_basic(request.body)
    if document.id or document.meta.version:
        raise bad_request("A new document has neither id nor meta.versionId: the server gives them")
    _check_subject(caller, document)
    id = secrets.token_hex(16)
    change, body = _change(service, caller, document, id, 1, ABSENT)
    happening = _happening(caller, "kept state of its own", document.coding, request)
    try:
        kept = await service.commit_within(MOST, _tag(caller), change, happening)
    except Conflict:
        raise error(409, "conflict", "Too many documents are being kept at the same moment: try again") from None
    if not kept:
        raise error(422, "too-costly", f"An app keeps at most {MOST} documents for a user: change or delete one")
    return _answer(body, 1, 201, {"Location": _url(service, id)})


@_called
async def update(service: Service, caller: Caller, request: WebRequest) -> WebResponse:
    """PUT /app-state/Basic/{id}, with If-Match: 200 with the document as it is kept."""
    document = read_basic(request.body)
    id = request.names["id"]
    if document.id != id:
        raise bad_request("The document's id must be that of the address")
    state, revision = await _current(service, caller, request)
    if (document.coding, document.about) != (state.coding, state.about):
        raise precondition_failed("code and subject of a document do not change: create another one")
    change, body = _change(service, caller, document, id, state.version + 1, revision)
    await _committed(service, change, _happening(caller, "changed state of its own", document.coding, request))
    return _answer(body, state.version + 1)


@_called
async def delete(service: Service, caller: Caller, request: WebRequest) -> WebResponse:
    """DELETE /app-state/Basic/{id}, with If-Match: 204."""
    state, revision = await _current(service, caller, request)
    change = RecordChange(KIND, request.names["id"], None, revision)
    await _committed(service, change, _happening(caller, "deleted state of its own", state.coding, request))
    return WebResponse(204, headers=NO_STORE)


@_called
async def read(service: Service, caller: Caller, request: WebRequest) -> WebResponse:
    """GET /app-state/Basic/{id}."""
    found = await _find(service, caller, request.names["id"])
    if found is None:
        raise not_found("There is no such document")
    await service.commit(happening=_happening(caller, "read state of its own", found[0].coding, request))
    return _answer(bytes(found[0].body), found[0].version)


@_called
async def search(service: Service, caller: Caller, request: WebRequest) -> WebResponse:
    """GET /app-state/Basic?code={system}|{code}&subject={reference}, or &subject:missing=true: a Bundle of the app's own documents."""
    asked = request.single()
    unknown = set(asked) - {"code", "subject", "subject:missing", "_format"}
    if unknown or asked.get("subject:missing", "true") not in ("true", "false"):
        raise bad_request("Documents are searched by code, subject and subject:missing (true, false)", code="not-supported")
    about = asked.get("subject")
    missing = asked.get("subject:missing")
    entries = []
    for record in await service.store.records(KIND, tag=_tag(caller), limit=MOST):
        state = _decode(record.value)
        fits = asked.get("code", state.coding) == state.coding and (about is None or about == state.about)
        if fits and (missing is None or (missing == "true") == (not state.about)):
            entries.append((_url(service, record.key), bytes(state.body)))
    coding = asked.get("code", "any code")
    await service.commit(happening=_happening(caller, "searched state of its own", coding, request))
    url = f"{service.urls.issuer}{PATH}/Basic?{urlencode(asked)}"
    return WebResponse(200, bundle(url, entries), _FHIR, NO_STORE)


def _check_subject(caller: Caller, document: Basic) -> None:
    if document.about and document.about not in caller.subjects:
        raise error(403, "forbidden", "The subject is neither the user nor the patient that the access token is for")


async def _find(service: Service, caller: Caller, id: str) -> tuple[State, int] | None:
    """The caller's own document and its record's revision; another's is as if it were not there."""
    record = await service.store.record(KIND, id) if _ID.fullmatch(id) else None
    state = _decode(record.value) if record is not None else None
    if record is None or state is None or state.owner != caller.owner:
        return None
    return state, record.revision


async def _current(service: Service, caller: Caller, request: WebRequest) -> tuple[State, int]:
    """The document that If-Match names. Raises FhirError 428 without it, 412 where it is not the current one."""
    given = request.headers.get("if-match")
    if given is None:
        raise error(428, "required", 'A change needs the version that it is made to: If-Match: W/"1"')
    match = _ETAG.fullmatch(given.strip())
    found = await _find(service, caller, request.names["id"])
    if found is None or match is None or int(match[1]) != found[0].version:
        raise _stale()
    return found


def _change(service: Service, caller: Caller, document: Basic, id: str, version: int, expect: int) -> tuple[RecordChange, bytes]:
    """What has to be committed to keep the document as this version of it, and what it is then."""
    body = stamped(document, id, version, instant_text(service.clock()))
    state = State(caller.owner, version, document.coding, document.about, msgspec.Raw(body))
    return RecordChange(KIND, id, _encode(state), expect, (_tag(caller), f"client:{caller.access.client}")), body


async def _committed(service: Service, change: RecordChange, happening: Happening) -> None:
    try:
        await service.commit(change, happening=happening)
    except Conflict:
        raise _stale() from None


def _stale() -> FhirError:
    return precondition_failed("The document is not there, or in another version than If-Match says: read it again")


def _answer(body: bytes, version: int, status: int = 200, headers: dict[str, str] | None = None) -> WebResponse:
    return WebResponse(status, body, _FHIR, {**NO_STORE, "ETag": f'W/"{version}"', **(headers or {})})


def _tag(caller: Caller) -> str:
    return f"owner:{caller.owner}"


def _url(service: Service, id: str) -> str:
    return f"{service.urls.issuer}{PATH}/Basic/{id}"


def _happening(caller: Caller, what: str, of: str, request: WebRequest, outcome: Outcome = "0") -> Happening:
    access = caller.access
    return Happening(
        "client",
        f"{access.client_name or access.client} {what} ({of[:200]})",
        outcome,
        subject=access.subject,
        client=access.client,
        address=request.address,
        about=(f"client/{access.client}",),
        patient=f"Patient/{access.patient}" if access.patient else "",
    )


async def forget_state(service: Service, client: str) -> None:
    """Forget all that an app has kept, where the app is removed. Raises StoreUnavailable."""
    while found := await service.store.records(KIND, tag=f"client:{client}", limit=MOST):
        await service.store.commit((), records=[RecordChange(KIND, record.key, None) for record in found])


_ONE: Final = f"{PATH}/Basic/{{id}}"
ROUTES: Final[tuple[WebRoute, ...]] = (
    WebRoute("POST", f"{PATH}/Basic", create, cors=True, fhir=True, most=LARGEST),
    WebRoute("GET", f"{PATH}/Basic", search, cors=True, fhir=True),
    WebRoute("GET", _ONE, read, cors=True, fhir=True),
    WebRoute("PUT", _ONE, update, cors=True, fhir=True, most=LARGEST),
    WebRoute("DELETE", _ONE, delete, cors=True, fhir=True),
)


def advertised(issuer: str) -> dict[str, Any]:
    """What SMART's configuration says of it."""
    return {"associated_endpoints": [{"url": f"{issuer}{PATH}", "capabilities": ["smart-app-state"]}]}
