"""Conditional update and patch: the table of https://hl7.org/fhir/R4/http.html#cond-update."""

import json

import httpx
from api.making import count, patient, post, put, texts, unique


def test_none_matches_without_an_id(api: httpx.Client) -> None:
    """The server makes a new one."""
    value = unique()
    answer = put(api, f"Patient?identifier={value}", patient(value))
    assert answer.status_code == 201
    assert f"/Patient/{answer.json()['id']}/_history/1" in answer.headers["location"]


def test_none_matches_with_a_free_id(api: httpx.Client) -> None:
    """The resource is made under the caller's id."""
    value, id = unique(), unique()
    answer = put(api, f"Patient?identifier={value}", patient(value, id=id))
    assert answer.status_code == 201
    assert answer.json()["id"] == id


def test_none_matches_with_a_taken_id(api: httpx.Client) -> None:
    """409: the id belongs to a resource that the criteria do not mean."""
    id, value = unique(), unique()
    put(api, f"Patient/{id}", patient(id=id))
    answer = put(api, f"Patient?identifier={value}", patient(value, id=id))
    assert answer.status_code == 409
    assert id in texts(answer)[0][1]


def test_none_matches_with_the_id_of_something_deleted(api: httpx.Client) -> None:
    """A deleted resource's id is free again; its versions go on."""
    id, value = unique(), unique()
    put(api, f"Patient/{id}", patient(id=id))
    api.delete(f"Patient/{id}")
    answer = put(api, f"Patient?identifier={value}", patient(value, id=id))
    assert answer.status_code == 201
    assert answer.json()["meta"]["versionId"] == "3"


def test_one_matches(api: httpx.Client) -> None:
    """It is updated, whether its id is given or not."""
    value = unique()
    id = post(api, patient(value)).json()["id"]
    assert put(api, f"Patient?identifier={value}", patient(value, active=True)).json()["meta"]["versionId"] == "2"
    again = put(api, f"Patient?identifier={value}", patient(value, id=id, active=False))
    assert (again.status_code, again.json()["id"], again.json()["meta"]["versionId"]) == (200, id, "3")


def test_one_matches_with_another_id(api: httpx.Client) -> None:
    """400: criteria and id mean different resources."""
    value = unique()
    post(api, patient(value))
    answer = put(api, f"Patient?identifier={value}", patient(value, id="another"))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["id"]


def test_several_match(api: httpx.Client) -> None:
    """412, and nothing changes."""
    value = unique()
    for _ in range(2):
        post(api, patient(value))
    assert put(api, f"Patient?identifier={value}", patient(value)).status_code == 412
    assert count(api, "Patient", value) == 2


def test_without_criteria(api: httpx.Client) -> None:
    """An update of a whole type is refused."""
    assert put(api, "Patient?", patient()).status_code == 400
    assert put(api, "Patient", patient()).status_code == 400


def test_if_match(api: httpx.Client) -> None:
    """If-Match holds for the version that the criteria lead to."""
    value = unique()
    post(api, patient(value))
    url = f"Patient?identifier={value}"
    assert put(api, url, patient(value), If_Match='W/"1"').status_code == 200
    refused = put(api, url, patient(value), If_Match='W/"1"')
    assert refused.status_code == 412
    assert "version 2" in texts(refused)[0][1]


def test_a_broken_resource_is_told_of(api: httpx.Client) -> None:
    """What is written by criteria is checked like everything else."""
    value = unique()
    answer = put(api, f"Patient?identifier={value}", patient(value, gender="x"))
    assert answer.status_code == 422
    assert texts(answer)[0][0] == "Patient.gender"
    assert count(api, "Patient", value) == 0


def test_patch_by_criteria(api: httpx.Client) -> None:
    """One match is patched, none is 404, several are 412."""
    value = unique()
    body, headers = json.dumps([{"op": "add", "path": "/active", "value": True}]), {"Content-Type": "application/json-patch+json"}
    url = f"Patient?identifier={value}"
    assert api.patch(url, content=body, headers=headers).status_code == 404
    post(api, patient(value))
    done = api.patch(url, content=body, headers=headers)
    assert (done.status_code, done.json()["active"], done.headers["etag"]) == (200, True, 'W/"2"')
    assert api.patch(url, content=body, headers={**headers, "If-Match": 'W/"1"'}).status_code == 412
    post(api, patient(value))
    assert api.patch(url, content=body, headers=headers).status_code == 412
