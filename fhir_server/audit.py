"""AuditEvents (https://hl7.org/fhir/R4/auditevent.html): who did what to which resource, when, from where, and how it ended.

One event an interaction, and one without a subtype for a request that leads to none (an unknown type or path, an id that is none),
built from templates as the bytes that `store.commit` takes: without `id` and `meta`, which the store adds. Of the request it names
references and the query, never other content. Where nothing of a patient is touched (metadata, health, metrics) nothing is recorded.
"""

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from fhir_server.messages import FhirRequest, Identity
from resources.instants import instant_text, now
from smart_auth.happenings import Happening

ACTIONS = {
    "create": "C",
    "read": "R",
    "vread": "R",
    "update": "U",
    "patch": "U",
    "delete": "D",
    "history-instance": "R",
    "history-type": "R",
    "history-system": "R",
    "search-type": "E",
    "search-system": "E",
    "batch": "E",
    "transaction": "E",
    "operation": "E",
}
"""Interaction -> action code, as http://hl7.org/fhir/audit-event-action and IHE BALP pair them."""

WITH_QUERY = frozenset(
    ("search-type", "search-system", "operation", "history-instance", "history-type", "history-system", "patch", "update", "delete")
)
"""Interactions whose event names the query where there is one: for conditional writes it says which resources were meant."""

NONE = ""
"""In place of an interaction: a request that leads to none."""

_MOST_OF_NONE = 2_048
"""Bytes of such a request that its event repeats: anything can stand there."""

_SUBTYPE = b'"subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"%b","display":"%b"}],'
_HEAD = (
    b'{"resourceType":"AuditEvent","type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest",'
    b'"display":"RESTful Operation"},%b"action":"%b","recorded":"%%b","outcome":"%%b",%%b"agent":[%%b],%%b%%b}'
)
_HEADS = {code: _HEAD % (_SUBTYPE % (code.encode(), code.encode()), action.encode()) for code, action in ACTIONS.items()}
_HEADS[NONE] = _HEAD % (b"", b"E")

_QUERY = (
    b'{"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"2","display":"System Object"},'
    b'"role":{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"24","display":"Query"},"query":"%b"}'
)
_WHAT = b'{"what":{"reference":"%b"}}'

_REQUEST = (
    b'{"what":{"identifier":{"value":%b}},"type":{"system":"https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",'
    b'"code":"XrequestId"}}'
)
"""Ties an event to its request, as IHE BALP does: the X-Request-Id that the answer carries too."""

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SECURITY = {
    "login": ("110114", "110122"),
    "logout": ("110114", "110123"),
    "grant": ("110113", "110137"),
    "token": ("110113", "110137"),
    "revoke": ("110113", "110137"),
    "user": ("110113", "110137"),
    "client": ("110113", "110137"),
    "keys": ("110113", "110132"),
    "credentials": ("110113", "110137"),
    "launch": ("110113", "110137"),
    "break-glass": ("110113", "110127"),
}
"""What happens in sign-in and administration -> type and subtype, as codes of DICOM."""

_json = msgspec.json.Encoder().encode


class Audit:
    """Builds events. `observer` is what names this server in them: its base URL."""

    def __init__(self, observer: str) -> None:
        self._named = {
            "observer": {"display": observer},
            "type": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
                    "code": "4",
                    "display": "Application Server",
                }
            ],
        }
        self._source = b'"source":' + _json(self._named)

    def success(self, now: int, who: Identity, request: FhirRequest, interaction: str, touched: Sequence[str]) -> bytes:
        """The event of an interaction that was carried out at `now` (microseconds) on the resources `touched` ("Patient/1")."""
        entities = [_WHAT % name.encode() for name in touched]
        entities += _asked(request, interaction)
        return self._event(now, who, interaction, b"0", b"", entities)

    def failure(self, now: int, who: Identity, request: FhirRequest, interaction: str, status: int, code: str) -> bytes:
        """The event of an interaction that was refused (4xx: outcome 4) or went wrong (5xx: outcome 8) with this issue code."""
        entities = [_WHAT % f"{request.type}/{request.id}".encode()] if request.type and request.id else []
        entities += _asked(request, interaction)
        outcome = b"4" if status < 500 else b"8"
        return self._event(now, who, interaction, outcome, b'"outcomeDesc":"%d %b",' % (status, code.encode()), entities)

    def happening(self, what: Happening) -> bytes:
        """The event of something in sign-in or administration, of now (https://hl7.org/fhir/R4/valueset-audit-event-sub-type.html)."""
        type, subtype = _SECURITY[what.code]
        event = {
            "resourceType": "AuditEvent",
            "type": {"system": _DCM, "code": type},
            "subtype": [{"system": _DCM, "code": subtype}],
            "action": "E",
            "recorded": instant_text(now()),
            "outcome": what.outcome,
            "outcomeDesc": what.text,
            "agent": [{"who": {"display": what.subject or "anonymous"}, "requestor": True}],
            "source": self._named,
            "entity": [{"what": {"display": each}} for each in what.about],
        }
        return _json({name: value for name, value in event.items() if value})

    def _event(self, now: int, who: Identity, interaction: str, outcome: bytes, why: bytes, entities: list[bytes]) -> bytes:
        entity = b',"entity":[%b]' % b",".join(entities) if entities else b""
        return _HEADS[interaction] % (instant_text(now).encode(), outcome, why, _agent(who), self._source, entity)


def _asked(request: FhirRequest, interaction: str) -> list[bytes]:
    """The entities of what was asked: the query, and the request by its id."""
    query = _query(request, interaction)
    request_id = request.headers.get("x-request-id", "")
    entities = [query] if query else []
    if request_id:
        entities.append(_REQUEST % _json(request_id))
    return entities


def _query(request: FhirRequest, interaction: str) -> bytes:
    """The entity of the query, with what a form body adds to it; b"" if nothing was asked. Where there is no interaction it is the path."""
    if interaction == NONE:
        whole = f"{request.path}?{request.query}" if request.query else request.path
        return _QUERY % b64encode(whole.encode("utf-8", "replace")[:_MOST_OF_NONE])
    if interaction not in WITH_QUERY:
        return b""
    form = request.body if request.path.endswith("_search") else b""
    if not (request.query or form or interaction == "operation"):
        return b""
    text = request.path.encode("utf-8", "replace")
    asked = b"&".join(part for part in (request.query.encode("utf-8", "replace"), form) if part)
    return _QUERY % b64encode(b"%b?%b" % (text, asked) if asked else text)


@lru_cache(maxsize=4096)
def _agent(who: Identity) -> bytes:
    network = b',"network":{"address":%b,"type":"2"}' % _json(who.address) if who.address else b""
    return b'{"who":{"display":%b},"requestor":true%b}' % (_json(who.subject), network)
