"""Two patients with one document of every type of the Patient compartment each, whatever these refer to, and what they share.

Documents are the shortest of the official examples of their type, with new ids: every reference to a resource of a type that lies in the
compartment leads to the same patient's, every other to what both share, so that there are ways from everything to everything. Each carries
its patient's marker wherever the type has room for it.
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from conformance.load import definitions
from conformance.validate import Validator
from resources.structure import check
from search.extract import Extractor
from search.parameters import registry

Json = dict[str, Any]

EXAMPLES = Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz"
BASE = "http://records.test/fhir"
SYSTEM = "http://records.test/marked"
OWN, OTHER, NEVER = "one", "two", "nil"
"""The patients, and what ids of neither begin with."""

COMPARTMENT: tuple[str, ...] = tuple(sorted(definitions().compartments["Patient"]))
"""The types whose documents may lie in a Patient's compartment."""

SHARED = (
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Location",
    "Medication",
    "HealthcareService",
    "Endpoint",
    "Substance",
)
"""What belongs to nobody, each once, named `shared`."""

LOOSE = ("Device", "Task", "GuidanceResponse", "Contract", "MessageHeader", "PaymentNotice", "VerificationResult")
"""Types outside the compartment whose documents are about somebody all the same."""

_LINKS: dict[str, Callable[[Json, str], None]] = {
    "Patient": lambda made, who: made.pop("link", None),
    "AuditEvent": lambda made, who: made.update(entity=[{"what": _to(who)}]),
    "Schedule": lambda made, who: made.update(actor=[_to(who)]),
    "SupplyDelivery": lambda made, who: made.update(patient=_to(who)),
    "Provenance": lambda made, who: made["target"].append(_to(who)),
    "SupplyRequest": lambda made, who: made.update(deliverTo=_to(who)),
    "Device": lambda made, who: made.update(patient=_to(who)),
    "Contract": lambda made, who: made.update(subject=[_to(who)]),
    "MessageHeader": lambda made, who: made.update(focus=[_to(who)]),
    "PaymentNotice": lambda made, who: made.update(request=_to(who)),
    "VerificationResult": lambda made, who: made.update(target=[_to(who)]),
}
"""Where no example of the type is about a patient."""

_REFERENCE = re.compile(r"(?:https?://[^/]+/(?:[^/]+/)*)?([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}")


def marker(who: str) -> str:
    """What stands in every document of this patient (`one`, `two`) and nowhere else. A word, so that searches by words find it."""
    return f"zq{who}marked"


def secret(who: str) -> str:
    """What stands in the texts of this patient's documents, and in no request."""
    return f"zq{who}secret"


def name(who: str, type: str) -> str:
    """The id of the patient's document of the type."""
    return who if type == "Patient" else f"{who}-{type.lower()}"


def _to(who: str) -> Json:
    return {"reference": f"Patient/{who}"}


@cache
def documents(who: str) -> tuple[Json, ...]:
    """All documents of the patient `who`: valid, lying in the compartment of `Patient/{who}` and no other's, AuditEvents without an id."""
    made = [made_of(type, who) for type in COMPARTMENT]
    return (*made, *_observations(who), *_conditions(who), *_contained(who), *(made_of(type, who) for type in LOOSE), _letter(who))


@cache
def shared() -> tuple[Json, ...]:
    """What belongs to nobody."""
    return tuple(_first(type, "shared", lambda made: made) for type in SHARED)


def ties(who: str) -> Iterator[Json]:
    """Documents of the patient that lead to the other patient's: by a reference that puts nothing into a compartment."""
    other = OTHER if who == OWN else OWN
    marked = {"meta": {"tag": [{"system": SYSTEM, "code": marker(who)}]}}
    yield {
        **_observation(who, "ties", "laboratory"),
        "hasMember": [{"reference": f"Observation/{name(other, 'Observation')}"}],
        "derivedFrom": [{"reference": f"Observation/{other}-laboratory"}],
        "focus": [{"reference": f"Patient/{other}"}],
        "encounter": {"reference": f"Encounter/{name(other, 'Encounter')}"},
    }
    yield {
        "resourceType": "Provenance",
        "id": f"{who}-ties-provenance",
        **marked,
        "target": [_to(who), {"reference": f"Observation/{name(other, 'Observation')}"}],
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/shared"}}],
    }
    yield {
        "resourceType": "List",
        "id": f"{who}-ties-list",
        **marked,
        "status": "current",
        "mode": "working",
        "subject": _to(who),
        "entry": [{"item": {"reference": f"{type}/{name(owner, type)}"}} for owner in (who, other) for type in COMPARTMENT],
    }
    yield {
        "resourceType": "Task",
        "id": f"{who}-ties-task",
        **marked,
        "status": "draft",
        "intent": "order",
        "for": _to(who),
        "focus": {"reference": f"Observation/{name(other, 'Observation')}"},
    }


def made_of(type: str, who: str) -> Json:
    """A document of the type about the patient."""
    return _first(type, name(who, type), lambda made: _about(made, who))


def _about(made: Json, who: str) -> Json | None:
    """The example as it is about the patient, or None if it cannot be."""
    type = made["resourceType"]
    made = _redirected(made, who)
    if type in _LINKS:
        _LINKS[type](made, who)
    made["text"] = {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{marker(who)} {secret(who)} {type}</div>',
    }
    made.setdefault("meta", {})["tag"] = [{"system": SYSTEM, "code": marker(who)}]
    identifier = {"system": SYSTEM, "value": f"{marker(who)}-{type}"}
    for more in ({"identifier": [identifier]}, {"identifier": identifier}):
        if not problems({**made, **more}):
            made |= more
            break
    if type in ("Patient", "Person", "RelatedPerson"):
        made |= {
            "name": [{"family": marker(who), "given": [secret(who)]}],
            "birthDate": "1970-01-01" if who == OWN else "1960-01-01",
        }
    wanted = () if type in LOOSE else (who,)
    return made if owners(made) == wanted else None


def owners(document: Json) -> tuple[str, ...]:
    """The patients in whose compartments it lies."""
    return _extractor().extract(document["resourceType"], document).patients


def problems(document: Json) -> list[Any]:
    """What is wrong with it (errors only), structure and rules."""
    found = check(json.dumps(document).encode()) or _validator().check(document["resourceType"], document)
    return [issue for issue in found if issue.severity in ("error", "fatal")]


def _redirected(value: Any, who: str) -> Any:
    if isinstance(value, list):
        return [_redirected(each, who) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _redirected(each, who) for key, each in value.items()}
    if isinstance(reference := made.get("reference"), str) and (match := _REFERENCE.fullmatch(reference)):
        type = match[1]
        about = type in COMPARTMENT or type in LOOSE
        made["reference"] = f"{type}/{name(who, type)}" if about else f"{type}/shared"
    return made


def _first(type: str, id: str, make: Callable[[Json], Json | None]) -> Json:
    """The shortest example of the type of which `make` makes a valid document."""
    for example in _examples()[type]:
        made = make({**json.loads(example), "id": id})
        if made is not None and not problems(made):
            return made
    raise AssertionError(f"no example of {type} can be used")


@cache
def _examples() -> dict[str, list[str]]:
    """type -> the examples as JSON, the shortest first."""
    found = defaultdict(list)
    with gzip.open(EXAMPLES, "rt", encoding="utf-8") as lines:
        for line in lines:
            resource = json.loads(line)["resource"]
            resource.get("meta", {}).pop("profile", None)
            found[resource["resourceType"]].append(json.dumps(resource))
    return {type: sorted(examples, key=len) for type, examples in found.items()}


@cache
def _validator() -> Validator:
    return Validator(definitions())


@cache
def _extractor() -> Extractor:
    return Extractor(registry(), BASE)


CATEGORIES = ("laboratory", "vital-signs", "survey", "social-history")
_OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_CONDITION_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"


def _observation(who: str, id: str, category: str) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{who}-{id}",
        "meta": {"tag": [{"system": SYSTEM, "code": marker(who)}]},
        "status": "final",
        "category": [{"coding": [{"system": _OBSERVATION_CATEGORY, "code": category}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}], "text": marker(who)},
        "subject": _to(who),
        "performer": [{"reference": "Practitioner/shared"}],
        "effectiveDateTime": "2020-02-02",
        "valueString": f"{marker(who)} {secret(who)}",
    }


def _observations(who: str) -> tuple[Json, ...]:
    return tuple(_observation(who, category, category) for category in CATEGORIES)


def _conditions(who: str) -> tuple[Json, ...]:
    return tuple(
        {
            "resourceType": "Condition",
            "id": f"{who}-{category}",
            "meta": {"tag": [{"system": SYSTEM, "code": marker(who)}]},
            "category": [{"coding": [{"system": _CONDITION_CATEGORY, "code": category}]}],
            "code": {"text": secret(who)},
            "subject": _to(who),
        }
        for category in ("problem-list-item", "encounter-diagnosis")
    )


def _contained(who: str) -> tuple[Json, ...]:
    """A request with the Medication in it."""
    request = {
        "resourceType": "MedicationRequest",
        "id": f"{who}-contained",
        "meta": {"tag": [{"system": SYSTEM, "code": marker(who)}]},
        "contained": [{"resourceType": "Medication", "id": "m", "code": {"coding": [{"system": SYSTEM, "code": marker(who)}]}}],
        "status": "active",
        "intent": "order",
        "medicationReference": {"reference": "#m"},
        "subject": _to(who),
    }
    return (request,)


def _letter(who: str) -> Json:
    """A Bundle, which lies in no compartment, with a document about the patient in it."""
    return {
        "resourceType": "Bundle",
        "id": f"{who}-bundle",
        "meta": {"tag": [{"system": SYSTEM, "code": marker(who)}]},
        "type": "collection",
        "entry": [{"fullUrl": f"{BASE}/Observation/{who}-survey", "resource": _observation(who, "survey", "survey")}],
    }
