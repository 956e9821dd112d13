"""update: http://hl7.org/fhir/R4/http.html#update and http://hl7.org/fhir/R4/http.html#concurrency"""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.api.conftest import FHIR, problem


def body(id: str | None, **more: object) -> str:
    found: dict[str, object] = {"resourceType": "Patient", "active": True} | more
    return json.dumps(found if id is None else {"id": id} | found)


def test_creates_then_updates(api: httpx.Client, base: str) -> None:
    """The first PUT is 201 with version 1, the next 200 with version 2."""
    first = api.put("Patient/up-1", content=body("up-1"), headers=FHIR)
    assert (first.status_code, first.headers["etag"]) == (201, 'W/"1"')
    assert first.headers["location"] == f"{base}/Patient/up-1/_history/1"
    second = api.put("Patient/up-1", content=body("up-1", gender="male"), headers=FHIR)
    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    assert second.json()["meta"]["versionId"] == "2"


def test_brings_back_what_was_deleted(api: httpx.Client) -> None:
    """A PUT on a deleted resource is 201, and its version numbers go on."""
    api.put("Patient/up-back", content=body("up-back"), headers=FHIR)
    api.delete("Patient/up-back")
    answer = api.put("Patient/up-back", content=body("up-back"), headers=FHIR)
    assert (answer.status_code, answer.headers["etag"]) == (201, 'W/"3"')


@pytest.mark.parametrize(("sent", "word"), [(body("other"), "other"), (body(None), "no id")])
def test_the_id_must_be_the_urls(api: httpx.Client, sent: str, word: str) -> None:
    """A body without the URL's id is 400."""
    answer = api.put("Patient/up-id", content=sent, headers=FHIR)
    assert answer.status_code == 400
    assert word in problem(answer)


def test_type_must_be_the_urls(api: httpx.Client) -> None:
    """A body of another type is 400."""
    answer = api.put("Practitioner/up-1", content=body("up-1"), headers=FHIR)
    assert answer.status_code == 400
    assert problem(answer) == "The body is a Patient, but the request is about Practitioner"


@pytest.mark.parametrize("id", ["a_b", "x" * 65, "%20", "a%2Fb", "ü"])
def test_ids_that_are_none(api: httpx.Client, id: str) -> None:
    """An id outside of [A-Za-z0-9-.]{1,64} is 400: http://hl7.org/fhir/R4/datatypes.html#id"""
    answer = api.put(f"Patient/{id}", content=body("a"), headers=FHIR)
    assert answer.status_code == 400
    assert "id" in problem(answer)


def test_if_match(api: httpx.Client) -> None:
    """With If-Match only the named version is replaced; otherwise 412 that tells the current one."""
    api.put("Patient/up-match", content=body("up-match"), headers=FHIR)
    good = api.put("Patient/up-match", content=body("up-match"), headers=FHIR | {"If-Match": 'W/"1"'})
    assert good.status_code == 200
    stale = api.put("Patient/up-match", content=body("up-match"), headers=FHIR | {"If-Match": 'W/"1"'})
    assert stale.status_code == 412
    assert "version 2, not 1" in problem(stale)
    broken = api.put("Patient/up-match", content=body("up-match"), headers=FHIR | {"If-Match": "soon"})
    assert broken.status_code == 400
    absent = api.put("Patient/up-none", content=body("up-none"), headers=FHIR | {"If-Match": 'W/"1"'})
    assert absent.status_code == 412
    star = api.put("Patient/up-none", content=body("up-none"), headers=FHIR | {"If-Match": "*"})
    assert star.status_code == 412


def test_if_none_match_star_only_creates(api: httpx.Client) -> None:
    """If-None-Match: * refuses to replace anything: 412."""
    headers = FHIR | {"If-None-Match": "*"}
    assert api.put("Patient/up-new", content=body("up-new"), headers=headers).status_code == 201
    assert api.put("Patient/up-new", content=body("up-new"), headers=headers).status_code == 412


def test_of_many_writers_with_the_same_version_one_wins(api: httpx.Client) -> None:
    """No update is lost: of eight concurrent writers that name version 1 exactly one succeeds."""
    api.put("Patient/up-race", content=body("up-race"), headers=FHIR)

    def attempt(number: int) -> int:
        sent = body("up-race", name=[{"family": f"F{number}"}])
        return api.put("Patient/up-race", content=sent, headers=FHIR | {"If-Match": 'W/"1"'}).status_code

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(attempt, range(8)))
    assert found == [200, *[412] * 7]


def test_clients_meta(api: httpx.Client) -> None:
    """Tags and profiles of the client stay; its version and instant do not."""
    meta = {"versionId": "77", "lastUpdated": "2001-01-01T00:00:00Z", "tag": [{"system": "urn:t", "code": "a"}]}
    stored = api.put("Patient/up-meta", content=body("up-meta", meta=meta), headers=FHIR).json()["meta"]
    assert stored["tag"] == meta["tag"]
    assert stored["versionId"] == "1"
    assert not stored["lastUpdated"].startswith("2001")
