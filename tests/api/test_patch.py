"""patch (https://hl7.org/fhir/R4/http.html#patch): JSON Patch and FHIRPath Patch."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.making import FHIR, Json, bundle, entry, patient, post, put, send, statuses, texts, unique

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
DATA = Path(__file__).resolve().parents[1] / "data"
CASES = [json.loads(line) for line in gzip.decompress((DATA / "fhir-patch-tests.r4.ndjson.gz").read_bytes()).splitlines()]


def stored(api: httpx.Client, **more: Any) -> str:
    """`Patient/id` of a new Patient."""
    return f"Patient/{post(api, patient(**more)).json()['id']}"


def json_patch(api: httpx.Client, url: str, *operations: Json, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.patch(url, content=json.dumps(operations), headers={**JSON_PATCH, **named})


def fhirpath_patch(kind: str, path: str, **value: Any) -> Json:
    """A FHIRPath Patch with one operation; `value` is `name` and one of value[x]."""
    parts: list[Json] = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    if "name" in value:
        parts.append({"name": "name", "valueString": value.pop("name")})
    if value:
        parts.append({"name": "value", **value})
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}


def plain(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if name not in ("id", "meta")}


def test_json_patch(api: httpx.Client) -> None:
    """200 with the new version; what is not patched stays."""
    name = stored(api, active=True)
    answer = json_patch(
        api, name, {"op": "replace", "path": "/active", "value": False}, {"op": "add", "path": "/gender", "value": "male"}
    )
    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"2"'
    assert answer.headers["location"].endswith(f"{name}/_history/2")
    assert (answer.json()["active"], answer.json()["gender"]) == (False, "male")
    assert api.get(name).json() == answer.json()


def test_decimals_keep_their_digits(api: httpx.Client) -> None:
    """A patch elsewhere does not re-spell a number."""
    body = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":72.500,"unit":"kg"}}'
    id = api.post("Observation", content=body, headers=FHIR).json()["id"]
    answer = json_patch(api, f"Observation/{id}", {"op": "replace", "path": "/status", "value": "amended"})
    assert b'"value":72.500,' in answer.content.replace(b" ", b"")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_official_cases(api: httpx.Client, case: Json) -> None:
    """HL7's cases of FHIRPath Patch give their outcome, if input and outcome are resources that may be stored."""
    id = unique()
    given = put(api, f"Patient/{id}", {**case["input"], "id": id})
    if given.status_code != 201:
        assert given.status_code == 422, given.text  # the case's input breaks an invariant; its engine is tested without the server
        return
    answer = api.patch(f"Patient/{id}", content=json.dumps(case["diff"]), headers=FHIR)
    if "error" in case:
        assert answer.status_code in (400, 422), answer.text
        return
    fit = put(api, f"Patient/{id}-wanted", {**case["output"], "id": f"{id}-wanted"})
    if fit.status_code == 422:
        assert answer.status_code == 422, answer.text
        return
    assert answer.status_code == 200, answer.text
    assert plain(answer.json()) == plain(fit.json())


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ([{"op": "remove", "path": "/nothing"}], 422),
        ([{"op": "test", "path": "/active", "value": False}], 422),
        ([{"op": "frobnicate", "path": "/active"}], 400),
        ([{"op": "replace", "path": "/id", "value": "other"}], 422),
        ([{"op": "replace", "path": "/resourceType", "value": "Person"}], 422),
        ([{"op": "add", "path": "/gender", "value": "x"}], 422),
        ([{"op": "add", "path": "/foo", "value": "x"}], 400),
        ([{"op": "replace", "path": "", "value": {"resourceType": "Patient"}}], 422),
        ({"op": "remove", "path": "/active"}, 400),
        ("text", 400),
        (7, 400),
    ],
)
def test_json_patches_that_fail(api: httpx.Client, operations: Any, status: int) -> None:
    """The patch or its outcome is refused with a sentence, and the resource stays as it was."""
    name = stored(api, active=True)
    before = api.get(name).json()
    answer = api.patch(name, content=json.dumps(operations), headers=JSON_PATCH)
    assert answer.status_code == status, answer.text
    assert texts(answer)
    assert api.get(name).json() == before


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json-patch+json", b"[{", 400),
        ("application/json-patch+json", b"", 400),
        ("application/json-patch+json", b"\xff\xfe", 400),
        ("application/fhir+json", b'{"resourceType":"Patient"}', 400),
        ("application/fhir+json", b'{"resourceType":"Parameters","foo":1}', 400),
        ("application/fhir+json", b"", 400),
        ("application/xml-patch+xml", b"<diff/>", 415),
        ("application/fhir+xml", b"<Parameters/>", 415),
        ("application/merge-patch+json", b"{}", 415),
    ],
)
def test_bodies_that_are_no_patch(api: httpx.Client, content_type: str, body: bytes, status: int) -> None:
    """400 for what cannot be read, 415 for kinds of patches that are not supported."""
    name = stored(api)
    answer = api.patch(name, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text


def test_absent_and_deleted(api: httpx.Client) -> None:
    """There is nothing to patch: 404 and 410."""
    operation = {"op": "add", "path": "/active", "value": True}
    assert json_patch(api, f"Patient/{unique()}", operation).status_code == 404
    name = stored(api)
    api.delete(name)
    assert json_patch(api, name, operation).status_code == 410


def test_if_match(api: httpx.Client) -> None:
    """If-Match names the version that the patch is meant for."""
    name = stored(api)
    operation = {"op": "add", "path": "/active", "value": True}
    assert json_patch(api, name, operation, If_Match='W/"1"').status_code == 200
    assert json_patch(api, name, operation, If_Match='W/"1"').status_code == 412
    assert json_patch(api, name, operation, If_Match="nonsense").status_code == 400


def test_a_patch_that_changes_nothing(api: httpx.Client) -> None:
    """It is accepted."""
    name = stored(api)
    before = api.get(name).json()
    assert plain(json_patch(api, name).json()) == plain(before)


def test_meta_is_the_servers(api: httpx.Client) -> None:
    """Version and instant cannot be patched; profile and tags can."""
    name = stored(api)
    answer = json_patch(
        api,
        name,
        {"op": "replace", "path": "/meta/versionId", "value": "77"},
        {"op": "add", "path": "/meta/tag", "value": [{"system": "http://example.org", "code": "a"}]},
    )
    assert answer.json()["meta"]["versionId"] == "2"
    assert answer.json()["meta"]["tag"] == [{"system": "http://example.org", "code": "a"}]


def test_in_a_bundle(api: httpx.Client) -> None:
    """A Bundle carries a FHIRPath Patch as Parameters and a JSON Patch as a Binary, in batch and transaction."""
    one, two = stored(api), stored(api)
    data = base64.b64encode(json.dumps([{"op": "add", "path": "/active", "value": True}]).encode()).decode()
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    parameters = fhirpath_patch("add", "Patient", name="birthDate", valueDate="1930-01-01")
    for kind in ("batch", "transaction"):
        answer = send(api, bundle(kind, entry("PATCH", one, binary), entry("PATCH", two, parameters)))
        assert statuses(answer) == ["200", "200"], answer.text
        parameters = fhirpath_patch("replace", "Patient.birthDate", valueDate="1931-01-01")
    assert api.get(one).json()["active"] is True
    assert api.get(two).json()["birthDate"] == "1931-01-01"
    assert api.get(two).json()["meta"]["versionId"] == "3"


def test_conditions_in_a_transaction(api: httpx.Client) -> None:
    """ifMatch of a patch entry holds; absent and deleted resources refuse the whole."""
    name, gone = stored(api), stored(api)
    api.delete(gone)
    patch = fhirpath_patch("add", "Patient", name="active", valueBoolean=True)
    refused = send(api, bundle("transaction", entry("PATCH", name, patch, ifMatch='W/"5"')))
    assert refused.status_code == 412
    assert texts(refused)[0][0].startswith("Bundle.entry[0]")
    refused = send(api, bundle("transaction", entry("PATCH", gone, patch), entry("PATCH", f"Patient/{unique()}", patch)))
    assert refused.status_code == 410
    assert [place for place, _ in texts(refused)] == ["Bundle.entry[0].request.url", "Bundle.entry[1].request.url"]
    assert statuses(send(api, bundle("transaction", entry("PATCH", name, patch, ifMatch='W/"1"')))) == ["200"]
