"""Small resources and Bundles for the tests of this folder, and the links between pages."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

Json = dict[str, Any]

FHIR = {"Content-Type": "application/fhir+json"}
SYSTEM = "http://example.org/mrn"


def unique() -> str:
    """A value that no other test has."""
    return uuid.uuid4().hex


def urn() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


def patient(value: str | None = None, **more: Any) -> Json:
    """A Patient with one identifier (a new one if none is given)."""
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value or unique()}], **more}


def observation(subject: str, **more: Any) -> Json:
    """An Observation about `subject`."""
    made = {"resourceType": "Observation", "status": "final", "code": {"text": "weight"}, "subject": {"reference": subject}}
    return {**made, **more}


def entry(method: str, url: str, resource: Json | None = None, full_url: str = "", **conditions: str) -> Json:
    """A Bundle entry; `conditions` are ifMatch, ifNoneMatch, ifNoneExist, ifModifiedSince."""
    made: Json = {"fullUrl": full_url} if full_url else {}
    if resource is not None:
        made["resource"] = resource
    return {**made, "request": {"method": method, "url": url, **conditions}}


def bundle(kind: str, *entries: Json) -> Json:
    made: Json = {"resourceType": "Bundle", "type": kind}
    return {**made, "entry": list(entries)} if entries else made


def send(api: httpx.Client, body: Json, **headers: str) -> httpx.Response:
    """POST a Bundle to the base URL."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.post(str(api.base_url).rstrip("/"), content=json.dumps(body), headers={**FHIR, **named})


def post(api: httpx.Client, resource: Json, **headers: str) -> httpx.Response:
    """Create a resource."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.post(resource["resourceType"], content=json.dumps(resource), headers={**FHIR, **named})


def put(api: httpx.Client, url: str, resource: Json, **headers: str) -> httpx.Response:
    """Update a resource at `url` (which may have criteria)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.put(url, content=json.dumps(resource), headers={**FHIR, **named})


def count(api: httpx.Client, type: str, value: str) -> int:
    """How many resources of `type` carry the identifier `value`."""
    total: int = api.get(type, params={"identifier": value, "_summary": "count"}).json()["total"]
    return total


def statuses(answer: httpx.Response) -> list[str]:
    """The entries' statuses of a response Bundle, without their words."""
    assert answer.status_code == 200, answer.text
    return [item["response"]["status"].split()[0] for item in answer.json().get("entry", [])]


def locations(answer: httpx.Response) -> list[str]:
    """`Type/id` of each entry of a response Bundle, "" where there is none."""
    items = (item["response"].get("location", "") for item in answer.json().get("entry", []))
    return [item.partition("/_history")[0] for item in items]


def texts(answer: httpx.Response) -> list[tuple[str, str]]:
    """(expression, text) of each error of an OperationOutcome."""
    issues = answer.json()["issue"]
    return [
        ((issue.get("expression") or [""])[0], issue["details"]["text"])
        for issue in issues
        if issue["severity"] in ("error", "fatal")
    ]


def link(bundle: Json, relation: str) -> str:
    """The URL of a Bundle's link ("" if it has none of that relation)."""
    return next((one["url"] for one in bundle["link"] if one["relation"] == relation), "")


def pages(api: httpx.Client, url: str) -> Iterator[Json]:
    """A Bundle and all that its next links lead to."""
    while url:
        answer = api.get(url)
        assert answer.status_code == 200, answer.text
        yield answer.json()
        url = link(answer.json(), "next")
