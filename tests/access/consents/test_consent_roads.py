"""What a patient's Consent keeps is kept by every road: reads, searches, histories, Bundles, and writes."""

from base64 import b64encode

import pytest
from access.comparing import next_link
from access.consents.consenting import ALL, OF_P, SENSITIVE, Agree, Json, consent, lab, of_class, put, seen
from access.worlds import Ask, World

ROADS = [
    "Observation?_id=p1",
    "Observation?subject=Patient/p",
    "Observation?patient.name=doe&_id=p1",
    "Patient?_has:Observation:patient:status=final&_id=p",
    "Patient/p/Observation",
    "Patient/p/Condition?_include=Condition:evidence-detail",
    "Condition?_include=Condition:evidence-detail",
    "Patient?_id=p&_revinclude=Observation:subject",
    "Patient/p/$everything",
    "Observation/$lastn?patient=Patient/p",
    "Observation/p1/_history",
    "Observation/_history",
    "_history?_count=1000",
    "Observation/p1/_history/1",
    "?_type=Observation,Condition&_id=p1",
]


@pytest.mark.parametrize("road", ROADS)
def test_no_road_leads_there(world: World, agree: Agree, road: str) -> None:
    """Whatever the road, the document is not shown, and shown again to others and when the Consent is gone."""
    agree({"type": "deny", "class": of_class("Observation")})
    told = world.get("ann", road)
    assert b'"id":"p1"' not in told.body, told.body[:500]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": road}}]}
    assert b'"id":"p1"' not in world.ask("ann", Ask("", "POST", "", bundle)).body
    if "_has" not in road:
        assert b'"id":"p1"' in world.ask("ann", Ask("", "GET", road, headers={"Purpose-Of-Use": "BTG"})).body


def test_what_is_kept_cannot_be_changed_either(world: World, agree: Agree) -> None:
    """A user from whom a document is kept cannot overwrite, patch or delete it; a backend that only feeds the record still can."""
    agree({"type": "deny", "class": of_class("Observation")})
    assert world.ask("ann", Ask("", "PUT", "Observation/p1", lab("p1", "p"))).status in (403, 404)
    assert world.ask("ann", Ask("", "DELETE", "Observation/p1")).status in (204, 403, 404)
    patch = '[{"op":"replace","path":"/status","value":"amended"}]'
    headers = {"Content-Type": "application/json-patch+json"}
    assert world.ask("ann", Ask("", "PATCH", "Observation/p1", patch, headers)).status in (403, 404)
    assert world.ask("service", Ask("", "PUT", "Observation/p1", lab("p1", "p"))).status == 200
    assert world.get("patient", "Observation/p1").json()["status"] == "final"


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_kept_was_kept_before(world: World, agree: Agree, labelled: bool) -> None:
    """A label that is put on a document hides its versions from before as well, on every page of every history."""
    agree({"type": "deny", "securityLabel": [SENSITIVE]})
    id, status = f"later-{labelled}", 404 if labelled else 200
    for more in ({}, {"meta": {"security": [SENSITIVE]}} if labelled else {"language": "en"}):
        assert put(world, lab(id, "p", **more)).status in (200, 201)
    assert world.get("ann", f"Observation/{id}/_history/1").status == status
    assert world.get("ann", f"Observation/{id}/_history").status == status
    assert world.get("patient", f"Observation/{id}/_history/1").status == 200
    for path in ("Observation/_history?_count=1", "_history?_count=3", "Observation/_history?_count=1000"):
        link: str | None = path
        pages = b""
        while link is not None:
            told = world.get("ann", link)
            pages, link = pages + told.body, next_link(told)
        assert (f'"id":"{id}"'.encode() in pages) is not labelled, path


@pytest.mark.parametrize("provision", [{"type": "deny"}, {"type": "deny", "class": of_class("Consent")}])
def test_administrators_undo_a_denial(world: World, agree: Agree, provision: Json) -> None:
    """Administrators find, read, change and delete a Consent that keeps the record, itself included, from everybody; the rest of the record
    stays hidden from them until then."""
    id = agree(provision)
    kept = OF_P if "class" not in provision else set()
    path, ended = f"Consent/{id}", consent(id, provision, status="inactive")
    assert ALL - seen(world, "admin") == kept
    assert world.get("ann", path).status == 404
    assert [each["resource"]["id"] for each in world.get("admin", "Consent?patient=p&status=active").json()["entry"]] == [id]
    assert world.get("admin", path).status == world.get("admin", f"{path}/_history/1").status == 200
    assert world.ask("admin", Ask("", "PUT", path, ended)).status == 200
    assert ALL - seen(world, "ann") == set()
    patch = '[{"op":"replace","path":"/status","value":"active"}]'
    assert world.ask("admin", Ask("", "PATCH", path, patch, {"Content-Type": "application/json-patch+json"})).status == 200
    assert ALL - seen(world, "ann") == kept
    assert world.ask("admin", Ask("", "DELETE", path)).status == 204
    assert world.get("everything", path).status == 410
    assert ALL - seen(world, "ann") == set()


def _patch(id: str) -> Ask:
    """A transaction that patches an Observation; what it asks of it is not so."""
    data = b64encode(b'[{"op":"test","path":"/code/text","value":"another"}]').decode()
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    entry = {"resource": binary, "request": {"method": "PATCH", "url": f"Observation/{id}"}}
    return Ask("", "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})


_ONCE = {"If-None-Exist": "_id=p1"}


def test_nothing_is_kept_of_what_was_allowed_before(world: World, agree: Agree) -> None:
    """After a caller has written, whatever a Consent then keeps is for later writes as if it had never been there."""
    assert world.ask("ann", _patch("p1")).status == 422
    agree({"type": "deny"})
    hidden, unknown = world.ask("ann", _patch("p1")), world.ask("ann", _patch("p0"))
    assert (hidden.status, hidden.body.replace(b"p1", b"p0")) == (unknown.status, unknown.body)


def test_nothing_is_kept_of_what_was_denied_before(world: World) -> None:
    """After a caller has written while a Consent kept something, that can be written and found again once the Consent is gone."""
    assert put(world, consent("passing", {"type": "deny"})).status == 201
    another = {name: value for name, value in lab("x", "q").items() if name != "id"}
    made = world.ask("bob", Ask("", "POST", "Observation", another, _ONCE))
    assert made.status == 201
    assert world.ask("everything", Ask("", "DELETE", "Consent/passing")).status == 204
    assert world.ask("bob", Ask("", "POST", "Observation", another, _ONCE)).status == 200
    assert world.ask("bob", _patch("p1")).status == 422
