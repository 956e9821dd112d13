"""delete: http://hl7.org/fhir/R4/http.html#delete"""

from collections.abc import Callable
from typing import Any

import httpx

from tests.api.conftest import problem

Put = Callable[[dict[str, Any]], httpx.Response]
PATIENT = {"resourceType": "Patient", "active": True}


def test_deletes_and_says_the_version(api: httpx.Client, put: Put) -> None:
    """204 with the ETag of the deletion; afterwards 410, with Prefer an OperationOutcome."""
    put(PATIENT | {"id": "del-1"})
    answer = api.delete("Patient/del-1")
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (204, b"", 'W/"2"')
    assert api.get("Patient/del-1").status_code == 410
    put(PATIENT | {"id": "del-1"})
    told = api.delete("Patient/del-1", headers={"Prefer": "return=OperationOutcome"})
    assert told.status_code == 200
    assert told.json()["issue"][0]["severity"] == "information"


def test_is_idempotent(api: httpx.Client, put: Put) -> None:
    """Deleting again, or what never was, is 204 too, and makes no version."""
    put(PATIENT | {"id": "del-2"})
    assert [api.delete("Patient/del-2").status_code for _ in range(3)] == [204, 204, 204]
    assert len(api.get("Patient/del-2/_history").json()["entry"]) == 2
    assert api.delete("Patient/del-never").status_code == 204
    assert api.get("Patient/del-never").status_code == 404


def test_if_match(api: httpx.Client, put: Put) -> None:
    """With If-Match only the named version is deleted."""
    put(PATIENT | {"id": "del-3"})
    put(PATIENT | {"id": "del-3"})
    stale = api.delete("Patient/del-3", headers={"If-Match": 'W/"1"'})
    assert stale.status_code == 412
    assert "version 2" in problem(stale)
    assert api.delete("Patient/del-3", headers={"If-Match": 'W/"2"'}).status_code == 204
    assert api.delete("Patient/del-3", headers={"If-Match": 'W/"2"'}).status_code == 412


def test_deleted_is_not_found_by_search(api: httpx.Client, put: Put) -> None:
    """A search that begins after the deletion does not see the resource."""
    put(PATIENT | {"id": "del-4", "identifier": [{"system": "urn:del", "value": "4"}]})
    assert api.get("Patient?identifier=urn:del|4").json()["total"] == 1
    api.delete("Patient/del-4")
    assert api.get("Patient?identifier=urn:del|4").json()["total"] == 0
