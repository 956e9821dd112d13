"""Documents that were put right: first in one patient's record, then in the other's."""

from collections.abc import Iterator

import pytest
from access.population import OTHER, OWN, Json, made_of, secret
from access.worlds import Ask, World

ID = "moved"


def _about(who: str) -> Json:
    return {**made_of("Observation", who), "id": ID}


@pytest.fixture(params=[(OWN, OTHER), (OTHER, OWN)], ids=["away", "here"])
def moved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, World]]:
    """A world with one such document, and whose it is in the end."""
    world = World(tmp_path_factory.mktemp("moved"), [])
    for who in request.param:
        assert world.ask("everything", Ask("", "PUT", f"Observation/{ID}", _about(who))).status in (200, 201)
    yield request.param[1], world
    world.close()


def test_each_patient_sees_what_is_theirs(moved: tuple[str, World]) -> None:
    """The document is there for whose it is now, of its versions those that were theirs then; for whose it was there is none of it, and
    histories and counts say no more."""
    now, world = moved
    mine, theirs = (2, 1) if now == OWN else (1, 2)
    assert world.get("patient", f"Observation/{ID}").status == (200 if now == OWN else 404)
    assert world.get("patient", f"Observation/{ID}/_history/{mine}").status == (200 if now == OWN else 404)
    assert world.get("patient", f"Observation/{ID}/_history/{theirs}").status == 404
    for path in (f"Observation/{ID}/_history", "Observation/_history", "_history"):
        told = world.get("patient", path)
        assert secret(OTHER) not in told.body.decode()
        if now == OTHER:
            assert told.status == 404 or (told.json().get("total", 0), told.json().get("entry", [])) == (0, [])
            continue
        assert [entry["response"]["etag"] for entry in told.json().get("entry", ())] == [f'W/"{mine}"']
        assert told.json().get("total", 1) == 1
    found = world.get("patient", "Observation?_total=accurate").json()
    assert found["total"] == (1 if now == OWN else 0)


def test_deletion_is_seen_by_whose_it_was_last(moved: tuple[str, World]) -> None:
    """After it was deleted it is gone for whose it was last, with its versions, and never was for the other one."""
    now, world = moved
    assert world.ask("everything", Ask("", "DELETE", f"Observation/{ID}")).status in (200, 204)
    assert world.get("patient", f"Observation/{ID}").status == (410 if now == OWN else 404)
    for number, status in ((1, 404), (2, 200 if now == OWN else 404)):
        assert world.get("patient", f"Observation/{ID}/_history/{number}").status == status
    told = world.get("patient", f"Observation/{ID}/_history")
    etags = [entry["response"]["etag"] for entry in told.json().get("entry", ())]
    assert etags == (['W/"3"', 'W/"2"'] if now == OWN else [])
    assert world.ask("patient", Ask("", "PUT", f"Observation/{ID}", _about(OWN))).status == (201 if now == OWN else 404)


def test_deletion_of_several_keeps_to_the_own_record(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where a conditional delete may delete several, it deletes of the matches only those that the caller may delete."""
    content = [{**made_of("Observation", who), "id": f"{who}-{number}"} for who in (OWN, OTHER) for number in range(2)]
    world = World(tmp_path_factory.mktemp("several"), content, conditional_delete="multiple")
    assert world.ask("patient", Ask("", "DELETE", "Observation?_lastUpdated=gt2020-01-01")).status in (200, 204)
    assert world.get("everything", "Observation?_total=accurate&_summary=count").json()["total"] == 2
    assert world.get("everything", f"Observation/{OTHER}-0").status == 200
    world.close()


def test_check_of_references_tells_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where references must lead to something, one to a hidden document is refused like one to nothing."""
    checked = World(tmp_path_factory.mktemp("references"), [], reference_existence="on")
    for who in (OWN, OTHER):
        patient: Json = {"resourceType": "Patient", "id": who}
        basic = {"resourceType": "Basic", "id": f"{who}-basic", "code": {"text": "x"}, "subject": {"reference": f"Patient/{who}"}}
        for document in (patient, basic):
            assert checked.ask("everything", Ask("", "PUT", f"{document['resourceType']}/{document['id']}", document)).status == 201
    told = []
    for target in (f"{OTHER}-basic", "nobody-basic"):
        made: Json = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": f"Patient/{OWN}"}}
        made["extension"] = [{"url": "http://records.test/about", "valueReference": {"reference": f"Basic/{target}"}}]
        answer = checked.ask("patient", Ask("", "POST", "Basic", made))
        told.append((answer.status, answer.normal()[2].replace(target, "TARGET")))
    checked.close()
    assert told[0] == told[1]
    assert told[0][0] == 422
