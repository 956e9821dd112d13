"""Documents that say who may see what: whoever they would give something to does not write them."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from access.worlds import Ask, World

from fhir_server.access import following
from smart_auth.access import Access

Json = dict[str, Any]


def _user(role: str, of: str, scopes: str = "user/*.cruds", patient: str = "") -> Access:
    return Access(of, "app", scopes, 0, role=role, patient=patient, fhir_user=of)


CALLERS = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "person": _user("patient", "Person/rita"),
    "patient": _user("patient", "Patient/own", "user/*.cruds patient/*.cruds", "own"),
    "patient and relative": _user("patient", "Person/both", "user/*.rs"),
    "by person": _user("patient", "Person/parent", "user/*.rs"),
    "related": _user("patient", "RelatedPerson/of-own"),
    "ended": _user("patient", "RelatedPerson/ended"),
    "to come": _user("patient", "RelatedPerson/to-come"),
    "still": _user("patient", "RelatedPerson/still"),
    "awaited": _user("patient", "RelatedPerson/awaited"),
    "awaited person": _user("patient", "Person/awaited"),
    "practitioner": _user("practitioner", "Practitioner/doc"),
    "launched": _user("practitioner", "Practitioner/doc", "patient/*.cruds", "own"),
    "front desk": _user("front-desk", "Practitioner/desk"),
    "admin": _user("admin", "Practitioner/chief"),
}


def _to(name: str) -> Json:
    return {"reference": name}


def _related(id: str, patient: str, **more: Any) -> Json:
    return {"resourceType": "RelatedPerson", "id": id, "patient": _to(f"Patient/{patient}"), **more}


def _consent(id: str, provision: Json) -> Json:
    return {
        "resourceType": "Consent",
        "id": id,
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"text": "privacy"}],
        "patient": _to("Patient/own"),
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": provision,
    }


CONTENT: dict[str, Json] = {
    "Patient": {"resourceType": "Patient", "id": "own"},
    "Person": {"resourceType": "Person", "id": "rita", "link": [{"target": _to("Patient/own")}]},
    "RelatedPerson": _related("of-own", "own"),
    "Practitioner": {"resourceType": "Practitioner", "id": "doc"},
    "Organization": {"resourceType": "Organization", "id": "clinic", "name": "Clinic"},
    "PractitionerRole": {
        "resourceType": "PractitionerRole",
        "id": "role",
        "practitioner": _to("Practitioner/doc"),
        "organization": _to("Organization/clinic"),
    },
    "Consent": _consent("agreed", {"type": "permit"}),
}
OTHERS = [
    {"resourceType": "Patient", "id": "other"},
    _related("of-other", "other"),
    {"resourceType": "Person", "id": "parent", "link": [{"target": _to("RelatedPerson/of-own")}]},
    {"resourceType": "Person", "id": "both", "link": [{"target": _to("RelatedPerson/of-other")}, {"target": _to("Patient/own")}]},
    _related("ended", "own", period={"end": "2001-01-01"}),
    _related("to-come", "own", period={"start": "2120"}),
    _related("still", "own", period={"start": "2001", "end": "2120"}),
    {"resourceType": "Observation", "id": "lab", "status": "final", "code": {"text": "x"}, "subject": _to("Patient/own")},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The store is asked for Consents at each request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "CHECKED", 0.0)
        made = World(tmp_path_factory.mktemp("deciding"), [*CONTENT.values(), *OTHERS], CALLERS)
        yield made
        made.close()


def _written(world: World, caller: str, type: str) -> str:
    """The letters with which the caller writes the type."""
    document = CONTENT[type]
    path = f"{type}/{document['id']}"
    asks = {
        "c": Ask("", "POST", type, {name: value for name, value in document.items() if name != "id"}),
        "u": Ask("", "PUT", path, {**document, "language": "en"}),
        "d": Ask("", "DELETE", path),
    }
    done = {letter: world.ask(caller, ask).status for letter, ask in asks.items()}
    assert set(done.values()) <= {200, 201, 204, 403}, done
    assert world.ask("everything", Ask("", "PUT", path, document)).status in (200, 201)
    return "".join(letter for letter, status in done.items() if status != 403)


@pytest.mark.parametrize("type", ["Person", "RelatedPerson", "Practitioner", "PractitionerRole", "Organization", "Consent"])
def test_who_writes_what_decides(type: str, world: World) -> None:
    """RelatedPersons are not written by patients or in their apps, and changed only by administrators; so are Persons and what consents
    name; Consents are written by the patient, and new ones by everybody who may write to the record."""
    without = ("patient and relative", "ended", "to come", "by person", "awaited", "awaited person")
    made = {caller: _written(world, caller, type) for caller in CALLERS if caller not in without}
    staff = {"RelatedPerson": "cd", "Consent": "c"}.get(type, "")
    record = "cud" if type == "Consent" else ""
    assert made == {
        "everything": "cud",
        "admin": "cud",
        "practitioner": staff,
        "launched": "c" if type == "Consent" else "",
        "front desk": "cd" if type == "RelatedPerson" else "",
        **dict.fromkeys(("person", "patient", "related", "still"), record),
    }


@pytest.mark.parametrize("target", ["Patient/other", "RelatedPerson/of-other"])
@pytest.mark.parametrize("caller", ["person", "launched", "patient"])
def test_nobody_gives_oneself_a_record(caller: str, target: str, world: World) -> None:
    """A link to another patient, or to who stands for one, is refused, whatever the road; what a Person reaches stays the same."""
    person = {**CONTENT["Person"], "link": [*CONTENT["Person"]["link"], {"target": _to(target)}]}
    patch = f'[{{"op": "add", "path": "/link/-", "value": {{"target": {{"reference": "{target}"}}}}}}]'
    entry = {"resource": person, "request": {"method": "PUT", "url": "Person/rita"}}
    for ask in (
        Ask("", "PUT", "Person/rita", person),
        Ask("", "PATCH", "Person/rita", patch, {"Content-Type": "application/json-patch+json"}),
        Ask("", "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}),
    ):
        assert world.ask(caller, ask).status == 403
    assert world.get("person", "Patient/own").status == 200
    assert world.get("person", "Patient/other").status in (403, 404)


def _patched(name: str, path: str, value: Any) -> list[Ask]:
    """A patch, alone and within a transaction."""
    patch = json.dumps([{"op": "add", "path": path, "value": value}])
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": b64encode(patch.encode()).decode(),
    }
    return [
        Ask("", "PATCH", name, patch, {"Content-Type": "application/json-patch+json"}),
        Ask("", "POST", "", _transaction(binary, "PATCH", name)),
    ]


def _transaction(document: Json, method: str, url: str) -> Json:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": document, "request": {"method": method, "url": url}}],
    }


def _written_over(document: Json) -> list[Ask]:
    """The document put where it says: by its id, on criteria, within a transaction and a batch."""
    type, id = document["resourceType"], document["id"]
    return [
        Ask("", "PUT", f"{type}/{id}", document),
        Ask("", "PUT", f"{type}?_id={id}", document),
        Ask("", "POST", "", _transaction(document, "PUT", f"{type}/{id}")),
        Ask("", "POST", "", _transaction(document, "PUT", f"{type}?_id={id}")),
        Ask("", "POST", "", _transaction(document, "PUT", f"{type}/{id}") | {"type": "batch"}),
    ]


@pytest.mark.parametrize("caller", ["practitioner", "launched", "front desk"])
def test_staff_give_nobody_a_record(caller: str, world: World) -> None:
    """Whoever works here makes no account a relative's: no Person is linked to a new RelatedPerson, none is made for an account that waits
    for one, no RelatedPerson is moved, begun again or made under an id of one's choice."""
    told = world.ask(caller, Ask("", "POST", "RelatedPerson", {"resourceType": "RelatedPerson", "patient": _to("Patient/other")}))
    new = f"RelatedPerson/{told.json()['id']}" if told.status == 201 else "RelatedPerson/of-other"
    link, related = {"target": _to(new)}, _related("ended", "own")
    asks = [
        *_written_over({"resourceType": "Person", "id": "parent", "link": [link]}),
        *_written_over({"resourceType": "Person", "id": "awaited", "link": [link]}),
        Ask("", "POST", "Person", {"resourceType": "Person", "link": [link]}),
        *_patched("Person/parent", "/link/-", link),
        *_written_over(_related("of-own", "other")),
        *_written_over(related),
        *_written_over(_related("awaited", "own")),
        *_patched("RelatedPerson/of-own", "/patient/reference", "Patient/other"),
        *_patched("RelatedPerson/ended", "/period", {"start": "2001"}),
    ]
    for ask in asks:
        told = world.ask(caller, ask)
        status = int(told.json()["entry"][0]["response"]["status"][:3]) if told.status == 200 else told.status
        assert status == 403, (ask, told.status, told.body)
    reached = {
        (by, of)
        for by in ("by person", "related", "ended", "awaited", "awaited person")
        for of in ("own", "other")
        if world.get(by, f"Patient/{of}").status == 200
    }
    assert reached == {("by person", "own"), ("related", "own")}


def test_a_related_person_who_was_deleted_is_not_brought_back(world: World) -> None:
    """Who may delete a RelatedPerson does not bring the account behind it to another record by a new one in its place."""
    assert world.ask("front desk", Ask("", "DELETE", "RelatedPerson/still")).status == 204
    assert world.get("still", "Patient/own").status in (403, 404)
    for ask in _written_over(_related("still", "other")):
        world.ask("front desk", ask)
    assert world.get("still", "Patient/other").status in (403, 404)
    assert world.ask("admin", Ask("", "PUT", "RelatedPerson/still", OTHERS[-2])).status == 201
    assert world.get("still", "Patient/own").status == 200


def test_a_related_persons_time(world: World) -> None:
    """Who stands for a patient does so within RelatedPerson.period."""
    told = {caller: world.get(caller, "Patient/own").status == 200 for caller in ("ended", "to come", "still", "related")}
    assert told == {"ended": False, "to come": False, "still": True, "related": True}


def test_relatives_cannot_end_what_keeps_them_away(world: World) -> None:
    """A Consent that keeps something from a relative by name, also one who is a Person, is not theirs to see, change or delete."""
    actor = {"role": {"text": "relative"}, "reference": _to("RelatedPerson/of-own")}
    kept = {"type": "deny", "actor": [actor], "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]}
    consent = _consent("kept", kept)
    made = world.ask("patient", Ask("", "POST", "Consent", consent))
    assert made.status == 201
    assert world.ask("everything", Ask("", "PUT", "Consent/kept", consent)).status == 201
    for caller in ("related", "by person"):
        assert world.get(caller, "Observation/lab").status == 404
        assert world.get(caller, "Consent/kept").status == 404
    assert world.ask("related", Ask("", "PUT", "Consent/kept", _consent("kept", {"type": "permit"}))).status == 403
    world.ask("related", Ask("", "DELETE", "Consent/kept"))
    assert world.get("everything", "Consent/kept").status == 200
    assert world.get("related", "Observation/lab").status == 404
    assert world.get("still", "Observation/lab").status == 200
    for id in ("kept", made.json()["id"]):
        assert world.ask("everything", Ask("", "DELETE", f"Consent/{id}")).status == 204


def test_a_person_is_every_one_of_those_it_links_to(world: World) -> None:
    """A denial by name holds for a Person whichever of its links it names; their own record stays theirs, whoever is named in it."""
    assert (
        world.get("patient and relative", "Patient/own").status == world.get("patient and relative", "Patient/other").status == 200
    )
    actor = {"role": {"text": "relative"}, "reference": _to("Patient/own")}
    for patient, seen in (("other", 404), ("own", 200)):
        consent = _consent(f"from-{patient}", {"type": "deny", "actor": [actor]}) | {"patient": _to(f"Patient/{patient}")}
        assert world.ask("everything", Ask("", "PUT", f"Consent/from-{patient}", consent)).status == 201
        assert world.get("patient and relative", f"Patient/{patient}").status == seen
        assert world.ask("everything", Ask("", "DELETE", f"Consent/from-{patient}")).status == 204
