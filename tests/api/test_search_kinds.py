"""Composites, places, units, and the modifiers beyond plain comparison, over HTTP: https://hl7.org/fhir/R4/search.html"""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.api.conftest import problem

TAG = {"tag": [{"system": "urn:kinds", "code": "1"}]}
UCUM = "http://unitsofmeasure.org"
MINE = "_tag=urn:kinds|1"


def gram(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


@pytest.fixture(scope="module", autouse=True)
def documents(api: httpx.Client) -> None:
    """Two observations, three places, a person."""
    parts = [
        {"code": {"text": code, "coding": [{"code": code}]}, "valueQuantity": gram(n, "mg")} for code, n in (("a", 5), ("b", 9))
    ]
    made: list[dict[str, Any]] = [
        {"resourceType": "Location", "id": "ki-1", "position": {"latitude": 48.2, "longitude": 16.37}},
        {"resourceType": "Location", "id": "ki-2", "partOf": {"reference": "Location/ki-1"}},
        {"resourceType": "Location", "id": "ki-3", "partOf": {"reference": "Location/ki-2"}},
        {
            "resourceType": "Patient",
            "id": "ki-1",
            "identifier": [{"type": {"coding": [{"system": "urn:role", "code": "MR"}]}, "value": "ki77"}],
            "generalPractitioner": [{"identifier": {"system": "urn:npi", "value": "ki9"}}],
        },
        {
            "resourceType": "Observation",
            "id": "ki-1",
            "status": "final",
            "code": {"text": "Weighed twice"},
            "component": parts,
        },
        {
            "resourceType": "Observation",
            "id": "ki-2",
            "status": "final",
            "code": {"coding": [{"system": "urn:c", "code": "w", "display": "Weight"}]},
            "valueQuantity": gram(1500, "mg"),
        },
    ]
    for document in made:
        assert api.put(f"{document['resourceType']}/{document['id']}", json=document | {"meta": TAG}).is_success


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Observation?component-code-value-quantity=a$lt9", "ki-1"),
        ("Observation?component-code-value-quantity=b$lt9", ""),
        (f"Observation?component-code-value-quantity=b$0.009|{UCUM}|g", "ki-1"),
        (f"Observation?code-value-quantity=urn:c|w$1.5|{UCUM}|g", "ki-2"),
        (f"Observation?value-quantity=gt1|{UCUM}|g", "ki-2"),
        (f"Observation?value-quantity=gt2|{UCUM}|g", ""),
        ("Observation?code:text=weigh", "ki-1 ki-2"),
        ("Observation?code:text=weight", "ki-2"),
        ("Location?near=48.2|16.4|5|km", "ki-1"),
        ("Location?near=48.2|16.4|1|km", ""),
        ("Location?partof:below=Location/ki-1", "ki-2 ki-3"),
        ("Location?partof:above=ki-3", "ki-2 ki-3"),
        ("Patient?identifier:of-type=urn:role|MR|ki77", "ki-1"),
        ("Patient?identifier:of-type=urn:role|SS|ki77", ""),
        ("Patient?general-practitioner:identifier=urn:npi|ki9", "ki-1"),
    ],
)
def test_found(api: httpx.Client, text: str, ids: str) -> None:
    """What is asked for is found, and the self link says what was asked."""
    answer = api.get(f"{text}&{MINE}")
    assert answer.status_code == 200, answer.text
    bundle = answer.json()
    assert sorted(entry["resource"]["id"] for entry in bundle.get("entry", [])) == ids.split()
    [own] = [one["url"] for one in bundle["link"] if one["relation"] == "self"]
    name, _, value = text.partition("?")[2].partition("=")
    assert (name, value) in parse_qsl(urlsplit(own).query)


@pytest.mark.parametrize(
    "text",
    [
        "Observation?component-code-value-quantity=a$lt9",
        f"Observation?combo-code-value-quantity=a$1|{UCUM}|g,b$9",
        "Observation?code:text=weigh",
        "Patient?identifier:text=x",
        "Location?near=48.2|16.4|5|km",
        "Location?partof:below=Location/ki-1",
        "Patient?identifier:of-type=urn:role|MR|ki77",
        "ValueSet?url:below=http://a.org/b",
    ],
)
def test_explained(api: httpx.Client, text: str) -> None:
    """How such a search was done can be told too."""
    answer = api.get(f"{text}&_explain=true")
    assert answer.status_code == 200, answer.text
    [outcome] = [e["resource"] for e in answer.json()["entry"] if e["search"]["mode"] == "outcome"]
    assert text.partition("?")[2].partition("=")[0].partition(":")[0] in str(outcome)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Observation?code-value-quantity=a", "code-value-quantity takes 2: <code>$<value-quantity>"),
        ("Observation?code-value-quantity=a$1$2", "3 parts"),
        ("Observation?code-value-quantity=a$x", "'x' is no number"),
        ("Observation?code-value-quantity=$5", "an empty part"),
        ("Observation?code-value-quantity:missing=true", "it takes none"),
        ("Observation?_sort=code-value-quantity", "cannot be sorted by"),
        ("Location?near=here", "latitude|longitude|distance|unit"),
        ("Location?near=1|2|3|parsec", "km, m, mi or [mi_us]"),
        ("Location?near=91|2", "latitudes go from -90 to 90"),
        ("Location?near=1|2|-3", "a distance is 0 or more"),
        ("Location?_sort=near", "cannot be sorted by"),
        ("Patient?identifier:of-type=MR|1", "system|code|value"),
        ("Patient?gender:text=x", "it takes :above"),
        ("Patient?name:of-type=a|b|c", "it takes :contains"),
        ("Patient?link:below=Patient/1", ":below cannot be used with link"),
        ("ValueSet?url:below=urn:oid:1.2", "no URNs"),
    ],
)
def test_refused(api: httpx.Client, text: str, says: str) -> None:
    """What cannot be meant is 400 with what to write instead."""
    answer = api.get(text)
    assert answer.status_code == 400
    assert says in problem(answer)


def test_capabilities(api: httpx.Client) -> None:
    """The CapabilityStatement names the composites and the special parameter that can be searched by."""
    [rest] = api.get("metadata").json()["rest"]
    found = {(resource["type"], p["name"], p["type"]) for resource in rest["resource"] for p in resource.get("searchParam", [])}
    assert ("Observation", "code-value-quantity", "composite") in found
    assert ("Location", "near", "special") in found
    assert not any(name == "_query" for _, name, _ in found)
