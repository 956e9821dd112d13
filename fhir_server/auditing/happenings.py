"""The AuditEvents of sign-in and administration, with the codes of DICOM
(https://hl7.org/fhir/R4/valueset-audit-event-type.html, https://hl7.org/fhir/R4/valueset-audit-event-sub-type.html)."""

from typing import Any

import msgspec

from fhir_server.auditing.agents import APPLICATION, DCM, client_agent
from resources.instants import instant_text
from smart_auth.happenings import Happening

_AUTHENTICATION, _ALERT = ("110114", "User Authentication"), ("110113", "Security Alert")
_ATTRIBUTES, _ROLES = ("110137", "User security Attributes Changed"), ("110136", "Security Roles Changed")
_NODE = ("110126", "Node Authentication")

CODES = {
    "login": (_AUTHENTICATION, ("110122", "Login")),
    "logout": (_AUTHENTICATION, ("110123", "Logout")),
    "token": (_AUTHENTICATION, _NODE),
    "launch": (_AUTHENTICATION, _NODE),
    "grant": (_ALERT, _ROLES),
    "revoke": (_ALERT, _ROLES),
    "user": (_ALERT, _ATTRIBUTES),
    "credentials": (_ALERT, _ATTRIBUTES),
    "client": (_ALERT, ("110129", "Security Configuration")),
    "keys": (_ALERT, ("110129", "Security Configuration")),
    "break-glass": (_ALERT, ("110127", "Emergency Override Started")),
}
"""What happens -> type and subtype, as (code, display)."""

_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
PATIENT = {
    "type": {"system": _TYPE, "code": "1", "display": "Person"},
    "role": {"system": _ROLE, "code": "1", "display": "Patient"},
}
_KINDS = {
    "user": {
        "type": {"system": _TYPE, "code": "1", "display": "Person"},
        "role": {"system": _ROLE, "code": "11", "display": "Security User Entity"},
    },
    "client": {
        "type": {"system": _TYPE, "code": "2", "display": "System Object"},
        "role": {"system": _ROLE, "code": "13", "display": "Security Resource"},
    },
}

_json = msgspec.json.Encoder().encode


def event_of(what: Happening, now: int, source: dict[str, Any]) -> bytes:
    """The event of something that happens at `now` (microseconds since the epoch). `source`: AuditEvent.source."""
    type, subtype = CODES[what.code]
    agents: list[dict[str, Any]] = [{"who": {"identifier": {"value": what.subject or "anonymous"}}, "requestor": True}]
    if what.address and not what.client:
        agents[0]["network"] = {"address": what.address, "type": "2"}
    if what.client:
        agents.append(client_agent(APPLICATION, what.client, "", what.address))
    patient = [f"Patient/{what.patient.removeprefix('Patient/')}"] if what.patient else []
    entities = [_entity(each) for each in dict.fromkeys((*what.about, *patient))]
    event = {
        "resourceType": "AuditEvent",
        "type": {"system": DCM, "code": type[0], "display": type[1]},
        "subtype": [{"system": DCM, "code": subtype[0], "display": subtype[1]}],
        "action": "E",
        "recorded": instant_text(now),
        "outcome": what.outcome,
        "outcomeDesc": what.text,
        "agent": agents,
        "source": source,
        "entity": entities,
    }
    return _json({name: value for name, value in event.items() if value})


def _entity(name: str) -> dict[str, Any]:
    """A reference (`Patient/1`), or a name of ours (`user/anna`, `client/abc`)."""
    kind, _, rest = name.partition("/")
    if kind == "Patient" and rest:
        return {"what": {"reference": name}, **PATIENT}
    if kind[:1].isupper() and rest and "/" not in rest:
        return {"what": {"reference": name}}
    return {"what": {"identifier": {"value": rest or name}, "display": name}, **_KINDS.get(kind, {})}
