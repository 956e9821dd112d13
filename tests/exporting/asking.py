"""Asking for exports over HTTP, as clients do."""

import json
import time
from collections.abc import Sequence
from typing import Any

import httpx

KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
LENIENT = KICK_OFF | {"Prefer": "respond-async, handling=lenient"}


def begin(client: httpx.Client, path: str = "$export", *, lenient: bool = False, **headers: str) -> str:
    """The address of a new job."""
    response = client.get(path, headers=(LENIENT if lenient else KICK_OFF) | headers)
    return begun(response)


def begun(response: httpx.Response) -> str:
    """The address of a job that was just begun."""
    assert response.status_code == 202, response.text
    assert response.json()["resourceType"] == "OperationOutcome"
    return response.headers["content-location"]


def post(client: httpx.Client, path: str, *parameters: tuple[str, Any], lenient: bool = False, **headers: str) -> httpx.Response:
    """The answer to a kick-off by POST; values are text, or dicts for references."""
    kinds = {dict: "valueReference", bool: "valueBoolean", str: "valueString"}
    listed = [{"name": name, "valueInstant" if name == "_since" else kinds[type(value)]: value} for name, value in parameters]
    body = {"resourceType": "Parameters", "parameter": listed}
    return client.post(path, json=body, headers=(LENIENT if lenient else KICK_OFF) | headers)


def refused(response: httpx.Response, *statuses: int) -> str:
    """Checks that the answer is a refusal with an OperationOutcome, and gives its text."""
    assert response.status_code in (statuses or range(400, 500)), response.text
    body = response.json()
    assert body["resourceType"] == "OperationOutcome"
    text: str = body["issue"][0]["details"]["text"]
    return text


def finished(client: httpx.Client, url: str, seconds: float = 60.0) -> httpx.Response:
    """The first answer about a job that is not 202; who asks too often waits."""
    deadline = time.monotonic() + seconds
    while (response := client.get(url)).status_code == 202 or (response.status_code == 429 and "retry-after" in response.headers):
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.1)
    return response


def ended(client: httpx.Client, url: str, seconds: float = 60.0) -> dict[str, Any]:
    """The manifest of a job, once it is done."""
    response = finished(client, url, seconds)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def manifest(client: httpx.Client, path: str = "$export", *, lenient: bool = False, **headers: str) -> dict[str, Any]:
    """The manifest of an export, once it is done."""
    return ended(client, begin(client, path, lenient=lenient, **headers))


def manifests(client: httpx.Client, *paths: str, lenient: bool = False) -> list[dict[str, Any]]:
    """The manifests of several exports that are under way at the same time."""
    return [ended(client, url) for url in [begin(client, path, lenient=lenient) for path in paths]]


def lines(client: httpx.Client, file: dict[str, Any]) -> list[dict[str, Any]]:
    """What a file of a manifest holds, checked to be as many as it says."""
    response = client.get(file["url"])
    assert response.status_code == 200 and response.headers["content-type"].startswith("application/fhir+ndjson")
    assert response.content.endswith(b"\n")
    found = [json.loads(line) for line in response.text.splitlines()]
    assert len(found) == file["count"] > 0
    return found


def documents(client: httpx.Client, told: dict[str, Any]) -> list[dict[str, Any]]:
    """All documents of a manifest's output, each checked to be of its file's type, and counted."""
    found = []
    for file in told["output"]:
        of_file = lines(client, file)
        assert {line["resourceType"] for line in of_file} == {file["type"]}
        found += of_file
    return found


def names(found: Sequence[dict[str, Any]]) -> list[str]:
    """Documents as `Type/id`, sorted; each once."""
    listed = sorted(f"{each['resourceType']}/{each['id']}" for each in found)
    assert len(set(listed)) == len(listed), "a document comes twice"
    return listed


def exported(client: httpx.Client, path: str, *, lenient: bool = False) -> list[str]:
    """What an export has, as `Type/id`."""
    return names(documents(client, manifest(client, path, lenient=lenient)))


def notes(client: httpx.Client, told: dict[str, Any]) -> list[str]:
    """What the error file of a manifest says."""
    return [issue["details"]["text"] for file in told["error"] for line in lines(client, file) for issue in line["issue"]]
