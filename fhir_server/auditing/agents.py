"""Who takes part in an AuditEvent, as JSON: the user, the app, this server (IHE BALP, https://profiles.ihe.net/ITI/BALP/content.html)."""

from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from fhir_server.messages import Identity

DCM = "http://dicom.nema.org/resources/ontology/DCM"
_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_CUSTODIAN = ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian", "Custodian")
_SOURCE, _DESTINATION = (DCM, "110153", "Source Role ID"), (DCM, "110152", "Destination Role ID")
APPLICATION = (DCM, "110150", "Application")
_RECIPIENT, _AUTHOR = (_PARTICIPATION, "IRCP", "information recipient"), (_PARTICIPATION, "AUT", "author (originator)")

Flow = Literal["read", "query", "write", "delete"]
"""Which way things go in an interaction: it says what parts its agents have."""

FLOWS: dict[Flow, tuple[tuple[str, str, str], tuple[str, str, str], tuple[str, str, str]]] = {
    "read": (_DESTINATION, _SOURCE, _RECIPIENT),
    "query": (_SOURCE, _DESTINATION, _RECIPIENT),
    "write": (_SOURCE, _DESTINATION, _AUTHOR),
    "delete": (APPLICATION, _CUSTODIAN, _AUTHOR),
}
"""The types of client, server and user, as the profiles of BALP have them."""

SYSTEMS = frozenset(type[:2] for client, server, _ in FLOWS.values() for type in (client, server)) | {APPLICATION[:2]}
"""System and code of the types that apps and servers have, and people never."""

REASONS = {
    "BTG": "break the glass",
    "ETREAT": "Emergency Treatment",
    "TREAT": "treatment",
    "HPAYMT": "healthcare payment",
    "HOPERAT": "healthcare operations",
    "HRESCH": "healthcare research",
    "PATRQT": "patient requested",
    "PUBHLTH": "public health",
}

_json = msgspec.json.Encoder().encode


def reason_of(purpose: str, words: str = "") -> dict[str, Any]:
    """A purpose of use (a code of v3-ActReason) as a CodeableConcept, with what the caller said of it."""
    return coded(_REASON, purpose, REASONS.get(purpose, purpose)) | ({"text": words} if words else {})


def coded(system: str, code: str, display: str) -> dict[str, Any]:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": display}]}


@lru_cache(maxsize=4096)
def agents(who: Identity, flow: Flow, purpose: str, observer: str) -> bytes:
    """The agents of an interaction, separated by commas. `purpose` is a code of v3-ActReason, "" if none was given."""
    client, server, user = FLOWS[flow]
    person = _user(who, user)
    app = client_agent(client, who.client, who.access.client_name if who.access is not None else "", who.address)
    app["requestor"] = person is None
    if purpose:
        (person or app)["purposeOfUse"] = [reason_of(purpose)]
    return _json([each for each in (person, app, _server(server, observer)) if each is not None])[1:-1]


def client_agent(type: tuple[str, str, str], client: str, name: str, address: str) -> dict[str, Any]:
    """An app or backend service, and where it called from."""
    who: dict[str, Any] = {"identifier": {"value": client}}
    if name:
        who["display"] = name
    agent: dict[str, Any] = {"type": coded(*type), "who": who, "requestor": False}
    if address:
        agent["network"] = {"address": address, "type": "2"}
    return agent


def _user(who: Identity, type: tuple[str, str, str]) -> dict[str, Any] | None:
    """The person; None where a client acts on its own account, or nobody was asked who they are."""
    access = who.access
    if access is None or not access.role:
        return None
    named: dict[str, Any] = {"reference": access.fhir_user} if access.fhir_user else {}
    agent: dict[str, Any] = {
        "type": coded(*type),
        "role": [{"text": access.role}],
        "who": {**named, "identifier": {"value": who.subject}},
        "requestor": True,
    }
    if access.user_name and access.role != "patient":  # a patient's name is content of a record
        agent["name"] = access.user_name
    return agent


def _server(type: tuple[str, str, str], observer: str) -> dict[str, Any]:
    place = {"address": urlsplit(observer).hostname or observer, "type": "1"}
    return {"type": coded(*type), "who": {"display": observer}, "requestor": False, "network": place}
