"""AuditEvents (https://hl7.org/fhir/R4/auditevent.html): who did what to which resource and patient, when, from where, and how it ended.

After the Basic Audit Log Patterns of IHE (https://profiles.ihe.net/ITI/BALP/): an event of a read, create, update, delete or search that
was carried out claims their profile, where it is about one patient at most. One that is about several names them all, and claims none.

One event an interaction, several where it names more than MOST_NAMED resources and patients; and one without a subtype for a request that
leads to none (an unknown type or path, an id that is none). They are built from templates as the bytes that `store.commit` takes. Of the
request they name references and the query, never other content. Where nothing of a patient is touched (metadata, health, metrics) nothing
is recorded.
"""

from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence

import msgspec

from fhir_server.access.purposes import EMERGENCIES
from fhir_server.auditing.agents import Flow, agents, reason_of
from fhir_server.auditing.happenings import event_of
from fhir_server.auditing.patients import patients_of
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

FLOWS: dict[str, Flow] = {
    "create": "write", "update": "write", "patch": "write", "transaction": "write", "batch": "write", "delete": "delete",
    "read": "read", "vread": "read", "history-instance": "read", "history-type": "read", "history-system": "read",
}  # fmt: skip
"""Interaction -> which way things go; "query" for the others."""

PROFILES = {
    "create": "Create", "read": "Read", "vread": "Read", "update": "Update", "patch": "Update", "delete": "Delete",
    "search-type": "Query", "search-system": "Query",
}  # fmt: skip
"""Interaction -> the profile of BALP, with or without a patient."""

OF_DATA = frozenset(("create", "read", "vread", "update", "patch", "delete", "transaction"))
"""Interactions whose event names a Patient twice: as what was read or written, and as whom it is about."""

SEARCHES = frozenset(("search-type", "search-system"))
WITH_QUERY = frozenset(
    ("search-type", "search-system", "operation", "history-instance", "history-type", "history-system", "patch", "update", "delete")
)
"""Interactions whose event names the query where there is one: for conditional writes it says which resources were meant."""

NONE = ""
"""In place of an interaction: a request that leads to none."""

MOST_NAMED = 500
"""Resources and patients that one AuditEvent names."""

_MOST_OF_NONE = 2_048
"""Bytes of a request that leads to no interaction that its event repeats: anything can stand there."""

_SUBTYPE = b'"subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"%b","display":"%b"}],'
_HEAD = (
    b'{"resourceType":"AuditEvent",%%b"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest",'
    b'"display":"RESTful Operation"},%b"action":"%b","recorded":"%%b","outcome":"%%b",%%b"agent":[%%b],%%b%%b}'
)
_HEADS = {code: _HEAD % (_SUBTYPE % (code.encode(), code.encode()), action.encode()) for code, action in ACTIONS.items()}
_HEADS[NONE] = _HEAD % (b"", b"E")
_OVERRIDE = b'{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110127","display":"Emergency Override Started"}'
_EMERGENCIES = {
    code: head.replace(b'"subtype":[', b'"subtype":[%b,' % _OVERRIDE) if code else _HEAD % (b'"subtype":[%b],' % _OVERRIDE, b"E")
    for code, head in _HEADS.items()
}
"""The same in an emergency, as where somebody broke the glass: auditors find these by their second subtype."""
_PURPOSE = b'"purposeOfEvent":%b,'
_META = b'"meta":{"profile":["https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.%b"]},'
_METAS = {name: (_META % name.encode(), _META % b"Patient%b" % name.encode()) for name in set(PROFILES.values())}

_TYPE = b'{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"%b","display":"%b"}'
_ROLE = b'{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"%b","display":"%b"}'
_OBJECT = b'"type":' + _TYPE % (b"2", b"System Object")
_QUERY = b"{" + _OBJECT + b',"role":' + _ROLE % (b"24", b"Query") + b',"query":"%b"}'
_DATA = b'{"what":{"reference":"%b"},' + _OBJECT + b',"role":' + _ROLE % (b"4", b"Domain Resource") + b"}"
_FOUND = b'{"what":{"reference":"%b"}}'
"""What was found has no type: the one of its kind that the profile of a search has is the query."""
_PATIENT = (
    b'{"what":{"reference":"Patient/%b"},"type":' + _TYPE % (b"1", b"Person") + b',"role":' + _ROLE % (b"1", b"Patient") + b"}"
)
_REQUEST = (
    b'{"what":{"identifier":{"value":%b}},"type":{"system":"https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",'
    b'"code":"XrequestId"}}'
)
"""Ties an event to its request, as IHE BALP does: the X-Request-Id that the answer carries too."""

_JOB = b'{"what":{"identifier":{"value":%b}},' + _OBJECT + b',"role":' + _ROLE % (b"20", b"Job") + b"}"
"""Ties an event to a job, and to the file of it that was written: whoever fetches that has it as the query."""

_json = msgspec.json.Encoder().encode


class Audit:
    """Builds events. `observer` is what names this server in them: its base URL; `bases` are all URLs that mean it."""

    def __init__(self, observer: str, bases: Collection[str] = ()) -> None:
        self._observer, self._bases = observer, frozenset(bases)
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

    def success(
        self,
        now: int,
        who: Identity,
        request: FhirRequest,
        interaction: str,
        touched: Sequence[str],
        bodies: Iterable[bytes] = (),
    ) -> list[bytes]:
        """The events of an interaction that was carried out at `now` (microseconds since the epoch) on the resources `touched`
        ("Patient/1", "Patient/1/_history/2"); `bodies` are documents that were told or written: who they are about is named too."""
        patients = dict.fromkeys(name.split("/", 2)[1] for name in touched if name.startswith("Patient/"))
        patients.update(dict.fromkeys(patients_of(bodies, self._bases)))
        if request.type == "Patient" and request.id:
            patients[request.id] = None
        data = [name for name in touched if interaction in OF_DATA or not name.startswith("Patient/")]
        one = _DATA if interaction in OF_DATA else _FOUND
        named = [one % name.encode() for name in data] + [_PATIENT % id.encode() for id in patients]
        asked = _asked(request, interaction)
        meta = _profile(who, interaction, asked, len(data), len(patients))
        return [
            self._event(now, who, request, interaction, b"0", meta, b"", named[start : start + MOST_NAMED] + asked)
            for start in range(0, max(len(named), 1), MOST_NAMED)
        ]

    def failure(self, now: int, who: Identity, request: FhirRequest, interaction: str, status: int, code: str) -> bytes:
        """The event of an interaction that was refused (4xx: outcome 4) or went wrong (5xx: outcome 8) with this issue code."""
        entities = [_DATA % f"{request.type}/{request.id}".encode()] if request.type and request.id else []
        if request.type == "Patient" and request.id:
            entities.append(_PATIENT % request.id.encode())
        entities += _asked(request, interaction)
        outcome = b"4" if status < 500 else b"8"
        return self._event(
            now, who, request, interaction, outcome, b"", b'"outcomeDesc":"%d %b",' % (status, code.encode()), entities
        )

    def happening(self, what: Happening) -> bytes:
        """The event of something in sign-in or administration, of now."""
        return event_of(what, now(), self._named)

    def _event(
        self,
        now: int,
        who: Identity,
        request: FhirRequest,
        interaction: str,
        outcome: bytes,
        meta: bytes,
        why: bytes,
        entities: list[bytes],
    ) -> bytes:
        entity = b',"entity":[%b]' % b",".join(entities) if entities else b""
        head, purpose = _HEADS[interaction], b""
        if request.trail.purpose:
            purpose = _PURPOSE % _json([reason_of(request.trail.purpose, request.trail.reason)])
            if request.trail.purpose in EMERGENCIES:
                head = _EMERGENCIES[interaction]
        part = agents(who, FLOWS.get(interaction, "query"), request.trail.purpose, self._observer)
        return head % (meta, instant_text(now).encode(), outcome, purpose + why, part, self._source, entity)


def _profile(who: Identity, interaction: str, asked: list[bytes], data: int, patients: int) -> bytes:
    """The profile of BALP that the event claims, if it fits one: a client with an address, one patient at most, and of the objects one:
    what was read or written, or the query."""
    name = PROFILES.get(interaction)
    if name is None or patients > 1 or not who.address or data >= MOST_NAMED:
        return b""
    queried = any(entity.startswith(b'{"type"') for entity in asked)
    fits = queried if interaction in SEARCHES else data == 1 and not queried
    return _METAS[name][patients] if fits else b""


def _asked(request: FhirRequest, interaction: str) -> list[bytes]:
    """The entities of what was asked: the query, and the request by its id."""
    query = _query(request, interaction)
    request_id = request.headers.get("x-request-id", "")
    entities = [query] if query else []
    if request.trail.job:
        entities.append(_JOB % _json(request.trail.job))
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
    if not (request.query or form or interaction == "operation" or interaction in SEARCHES):
        return b""
    text = request.path.encode("utf-8", "replace")
    asked = b"&".join(part for part in (request.query.encode("utf-8", "replace"), form) if part)
    return _QUERY % b64encode(b"%b?%b" % (text, asked) if asked else text)
