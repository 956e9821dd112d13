"""read and vread: http://hl7.org/fhir/R4/http.html#read, http://hl7.org/fhir/R4/http.html#vread"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import FHIR, problem

Put = Callable[[dict[str, Any]], httpx.Response]


def patient(id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, "name": [{"family": "Reading"}], "gender": "female"} | more


def test_answers_the_stored_document_with_its_version(api: httpx.Client, put: Put) -> None:
    """A read gives the document as it was sent, plus id and meta, with ETag and Last-Modified."""
    put(patient("read-1"))
    answer = api.get("Patient/read-1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json; charset=utf-8"
    body = answer.json()
    assert body["name"] == [{"family": "Reading"}]
    assert answer.headers["etag"] == f'W/"{body["meta"]["versionId"]}"'
    assert answer.headers["last-modified"].endswith("GMT")


def test_numbers_keep_their_spelling(api: httpx.Client) -> None:
    """A decimal comes back with the digits it was sent with, plain and indented (http://hl7.org/fhir/R4/json.html#decimal)."""
    body = (
        b'{"resourceType":"Observation","id":"digits","status":"final","code":{"text":"x"},'
        b'"valueQuantity":{"value":72.500,"unit":"kg"}}'
    )
    assert api.put("Observation/digits", content=body, headers=FHIR).status_code in (200, 201)
    assert b'"value":72.500,' in api.get("Observation/digits").content
    assert b'"value": 72.500,' in api.get("Observation/digits?_pretty=true").content


def test_missing_and_deleted_differ(api: httpx.Client, put: Put) -> None:
    """What never was is 404, what was deleted is 410."""
    assert problem(api.get("Patient/never-there")) == "Patient/never-there does not exist"
    assert api.get("Patient/never-there").status_code == 404
    put(patient("read-gone"))
    api.delete("Patient/read-gone")
    answer = api.get("Patient/read-gone")
    assert answer.status_code == 410
    assert "was deleted" in problem(answer)


@pytest.mark.parametrize("query", ["_foo=1", "_summary=count", "family=x"])
def test_what_a_read_ignores(api: httpx.Client, put: Put, query: str) -> None:
    """Parameters that say nothing about one document leave it as it is; `_summary` and `_elements` with wrong values do not."""
    put(patient("read-params"))
    answer = api.get(f"Patient/read-params?{query}", headers={"Prefer": "handling=strict"})
    assert answer.status_code == 200 and answer.content == api.get("Patient/read-params").content
    assert api.get("Patient/read-params?_summary=some").status_code == 400


def test_version_read(api: httpx.Client, put: Put) -> None:
    """Every version can be read by its number; a number that is none is 404, the version of a deletion 410."""
    put(patient("vread-1"))
    put(patient("vread-1", gender="male"))
    api.delete("Patient/vread-1")
    assert api.get("Patient/vread-1/_history/1").json()["gender"] == "female"
    assert api.get("Patient/vread-1/_history/2").json()["gender"] == "male"
    assert api.get("Patient/vread-1/_history/3").status_code == 410
    for wrong in ("4", "0", "-1", "x", "99999999999999999999", "%31%00"):
        assert api.get(f"Patient/vread-1/_history/{wrong}").status_code == 404, wrong


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": 'W/"1"'}, 304),
        ({"If-None-Match": '"1"'}, 304),
        ({"If-None-Match": 'W/"7", W/"1"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": 'W/"2"'}, 200),
        ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ({"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-None-Match": 'W/"2"', "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
    ],
)
def test_conditional_read(api: httpx.Client, put: Put, headers: dict[str, str], status: int) -> None:
    """304 without a body where the caller has the version: http://hl7.org/fhir/R4/http.html#cread"""
    if api.get("Patient/cread").status_code == 404:
        put(patient("cread"))
    answer = api.get("Patient/cread", headers=headers)
    assert answer.status_code == status
    assert (answer.content == b"") is (status == 304)
    assert answer.headers["etag"] == 'W/"1"'


def test_head_is_get_without_a_body(api: httpx.Client, put: Put) -> None:
    """HEAD has the headers of GET, its length too."""
    put(patient("head-1"))
    head, get = api.head("Patient/head-1"), api.get("Patient/head-1")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["etag"] == get.headers["etag"]


def test_summary_and_elements(api: httpx.Client, put: Put) -> None:
    """A part of a document is tagged as one: http://hl7.org/fhir/R4/search.html#summary"""
    put(patient("part-1", maritalStatus={"text": "single"}))
    cut = api.get("Patient/part-1?_elements=gender").json()
    assert cut["gender"] == "female"
    assert "name" not in cut
    assert cut["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert "maritalStatus" not in api.get("Patient/part-1?_summary=true").json()
    assert api.get("Patient/part-1?_summary=false").json()["maritalStatus"] == {"text": "single"}
    assert api.get("Patient/part-1?_summary=most").status_code == 400
