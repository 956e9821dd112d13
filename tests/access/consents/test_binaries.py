"""What stands in for a Binary (securityContext) decides whether a Consent keeps it."""

from collections.abc import Iterator

import pytest
from access.consents.consenting import Agree, Json, of_class, put
from access.population import BASE
from access.worlds import Ask, World

CONTENT = "aGlkZGVuIGJ5dGVz"
WORDS = b"hidden bytes"
PATCH = '[{"op":"add","path":"/language","value":"en"}]'


def binary(id: str, context: str) -> Json:
    held = {"resourceType": "Binary", "id": id, "contentType": "image/png", "data": CONTENT}
    return held | ({"securityContext": {"reference": context}} if context else {})


CONTEXTS = {
    "of-patient": "Patient/p",
    "of-document": "Observation/p1",
    "of-version": "Observation/p1/_history/1",
    "of-url": f"{BASE}/Patient/p",
    "of-nobody": "Patient/never-there",
    "of-other": "Patient/q",
    "elsewhere": "https://other.example/fhir/Patient/p",
    "free": "",
}
KEPT = {"of-patient", "of-document", "of-version", "of-url", "of-nobody"}

ROADS = [
    "Binary/{id}/_history/1",
    "Binary/{id}/_history",
    "Binary/{id}/$meta",
    "Binary?_id={id}",
    "Binary/_history?_count=1000",
    "_history?_count=1000",
    "?_type=Binary,Patient&_id={id}",
]


@pytest.fixture(scope="module")
def binaries(world: World) -> Iterator[World]:
    """The world with a Binary for each of CONTEXTS."""
    for id, context in CONTEXTS.items():
        assert put(world, binary(id, context)).status == 201
    yield world
    for id in CONTEXTS:
        world.ask("everything", Ask("", "DELETE", f"Binary/{id}"))


def read(world: World, caller: str, id: str, **headers: str) -> tuple[int, bytes]:
    told = world.ask(
        caller, Ask("", "GET", f"Binary/{id}", headers={name.replace("_", "-"): said for name, said in headers.items()})
    )
    return told.status, told.body


def test_what_is_kept_of_whom_it_is_about(binaries: World, agree: Agree) -> None:
    """Hidden are those for which a hidden patient, document or version stands in, and nobody can; native content too."""
    agree({"type": "deny"})
    for caller in ("ann", "analyst", "service"):
        shown = {id for id in CONTEXTS if read(binaries, caller, id)[0] == 200}
        assert shown == CONTEXTS.keys() - KEPT
    for id in KEPT:
        status, body = read(binaries, "ann", id, Accept="image/png")
        absent = read(binaries, "ann", "never-there", Accept="image/png")
        assert (status, body.replace(id.encode(), b"never-there")) == absent
    assert read(binaries, "ann", "of-patient", Accept="image/png", Purpose_Of_Use="BTG") == (200, WORDS)


def test_a_part_of_a_record(binaries: World, agree: Agree) -> None:
    """What stands in is judged as it would be itself: a denial of Observations keeps what belongs to one of them."""
    agree({"type": "deny", "class": of_class("Observation")})
    shown = {id for id in CONTEXTS if read(binaries, "ann", id)[0] == 200}
    assert CONTEXTS.keys() - shown == {"of-document", "of-version", "of-nobody"}


def test_binaries_as_a_class(binaries: World, agree: Agree) -> None:
    """A denial of Binaries keeps those that belong to the record, and nothing else of it."""
    agree({"type": "deny", "class": of_class("Binary")})
    assert {id for id in CONTEXTS if read(binaries, "ann", id)[0] == 200} == CONTEXTS.keys() - KEPT
    assert binaries.get("ann", "Observation/p1").status == binaries.get("ann", "Patient/p").status == 200


def test_binaries_as_an_exception(binaries: World, agree: Agree) -> None:
    """A denial of all but Binaries keeps all but these."""
    agree({"type": "deny", "provision": [{"type": "permit", "class": of_class("Binary")}]})
    assert read(binaries, "ann", "of-patient")[0] == read(binaries, "ann", "of-document")[0] == 200
    assert binaries.get("ann", "Observation/p1").status == binaries.get("ann", "Patient/p").status == 404


@pytest.mark.parametrize("road", ROADS)
def test_no_road_leads_to_it(binaries: World, agree: Agree, road: str) -> None:
    """Histories, searches, and entries of Bundles leave it out, and no total counts it."""
    path = road.format(id="of-patient")
    shown = binaries.get("ann", path)
    agree({"type": "deny"})
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": path}}]}
    told = binaries.get("ann", path)
    assert shown.status == 200 and (told.status == 404 or b'"id":"of-patient"' in shown.body)
    assert b'"id":"of-patient"' not in told.body + binaries.ask("ann", Ask("", "POST", "", bundle)).body
    assert "total" not in binaries.get("ann", "Binary?_summary=count&_total=accurate&_id=of-patient").json()


def test_it_cannot_be_changed_either(binaries: World, agree: Agree) -> None:
    """Nor overwritten, patched or deleted by whom it is kept from; a service still feeds it."""
    agree({"type": "deny"})
    headers = {"Content-Type": "application/json-patch+json"}
    asks = (
        Ask("", "PUT", "Binary/of-patient", binary("of-patient", "")),
        Ask("", "PATCH", "Binary/of-patient", PATCH, headers),
        Ask("", "DELETE", "Binary/of-patient"),
    )
    assert [binaries.ask("ann", ask).status for ask in asks] == [404, 404, 204]
    assert binaries.ask("service", Ask("", "PUT", "Binary/of-patient", binary("of-patient", "Patient/p"))).status == 200
