"""ViewDefinitions are stored, found and refused like other resources, though R4 has no such type (docs/adr/0023-views.md)."""

from typing import Any

import httpx
import pytest

VIEW: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "url": "http://example.org/views/patients",
    "version": "1",
    "name": "patients",
    "title": "Patients",
    "status": "active",
    "contact": [{"telecom": [{"system": "email", "value": "a@example.org"}]}],
    "resource": "Patient",
    "constant": [{"name": "use", "valueCode": "official"}],
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()", "type": "id", "tag": [{"name": "ansi/type", "value": "CHARACTER"}]}
            ]
        },
        {"forEachOrNull": "name.where(use = %use)", "column": [{"name": "family", "path": "family"}]},
        {"repeat": ["link"], "unionAll": [{"column": [{"name": "link", "path": "type"}]}]},
    ],
    "where": [{"path": "active"}],
}


@pytest.fixture
def stored(api: httpx.Client) -> dict[str, Any]:
    answer = api.post("ViewDefinition", json=VIEW)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_all_interactions(api: httpx.Client, stored: dict[str, Any]) -> None:
    """Created, read, updated, patched, its history read, deleted."""
    place = f"ViewDefinition/{stored['id']}"
    assert api.get(place).json()["select"] == VIEW["select"]
    assert api.put(place, json={**stored, "title": "Others"}).status_code == 200
    patch = api.patch(
        place,
        json=[{"op": "replace", "path": "/status", "value": "retired"}],
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert patch.status_code == 200, patch.text
    assert [entry["resource"]["meta"]["versionId"] for entry in api.get(f"{place}/_history").json()["entry"]] == ["3", "2", "1"]
    assert api.get(f"{place}/_history/1").json()["title"] == "Patients"
    assert api.get(f"{place}/$meta").status_code == 200
    assert api.delete(place).status_code == 204
    assert api.get(place).status_code == 410


@pytest.mark.parametrize(
    "query",
    [
        "url=http://example.org/views/patients",
        "name=patients",
        "status=active",
        "resource=Patient",
        "title:contains=tient",
        "_id={id}",
        "_lastUpdated=ge2020",
        "_filter=resource eq Patient",
    ],
)
def test_search(api: httpx.Client, stored: dict[str, Any], query: str) -> None:
    """By url, name, status and resource, and by what every resource has."""
    found = api.get(f"ViewDefinition?{query}&_sort=-_lastUpdated&_count=100".replace("{id}", stored["id"])).json()
    assert stored["id"] in [entry["resource"]["id"] for entry in found["entry"]]
    assert api.get("ViewDefinition?resource=Observation&_id=" + stored["id"]).json()["total"] == 0


REFUSED = [
    ({"select": None}, 400, "ViewDefinition.select"),
    ({"status": None}, 400, "ViewDefinition.status"),
    ({"status": "good"}, 422, "ViewDefinition.status"),
    ({"resource": "Patien"}, 422, "ViewDefinition.resource"),
    ({"name": "1 x"}, 422, "ViewDefinition.name"),
    ({"unknown": 1}, 400, "ViewDefinition"),
    ({"url": 7}, 400, "ViewDefinition.url"),
    ({"where": {}}, 400, "ViewDefinition.where"),
    ({"contact": [{"telecom": [{"sistem": "email"}]}]}, 400, "ViewDefinition.contact[0].telecom[0]"),
    ({"constant": [{"name": "a", "valueCode": "x", "valueId": "y"}]}, 400, "ViewDefinition.constant[0].value"),
    ({"select": [{"column": [{"name": "a"}]}]}, 400, "ViewDefinition.select[0].column[0].path"),
    ({"select": [{"column": [{"name": "a", "path": "x.y"}]}]}, 422, "ViewDefinition.select[0].column[0].path"),
    (
        {"select": [{"column": [{"name": "a", "path": "id"}], "forEach": "name", "repeat": ["name"]}]},
        422,
        "ViewDefinition.select[0]",
    ),
]


@pytest.mark.parametrize(("change", "status", "place"), REFUSED)
def test_what_is_wrong_is_refused(api: httpx.Client, change: dict[str, Any], status: int, place: str) -> None:
    """400 for structure, 422 for rules and expressions, with the place; $validate says the same."""
    document = {name: value for name, value in {**VIEW, **change}.items() if value is not None}
    answer = api.post("ViewDefinition", json=document)
    assert answer.status_code == status, answer.text
    assert place in [issue["expression"][0] for issue in answer.json()["issue"] if "expression" in issue], answer.text
    verdict = api.post("ViewDefinition/$validate", json=document).json()
    assert place in [issue["expression"][0] for issue in verdict["issue"] if "expression" in issue], verdict


def test_what_is_no_json_is_refused(api: httpx.Client) -> None:
    """A key given twice, and a body cut off."""
    headers = {"Content-Type": "application/fhir+json"}
    twice = '{"resourceType":"ViewDefinition","status":"active","status":"draft"}'
    assert "more than once" in api.post("ViewDefinition", content=twice, headers=headers).text
    assert api.post("ViewDefinition", content=twice, headers=headers).status_code == 400
    assert api.post("ViewDefinition", content='{"resourceType":"ViewDefinition"', headers=headers).status_code == 400


def test_not_where_r4_has_no_place_for_it(api: httpx.Client, stored: dict[str, Any]) -> None:
    """No R4 resource contains one, and the CapabilityStatement, which can name types of R4 only, does not list it."""
    basic = {"resourceType": "Basic", "code": {"text": "x"}, "contained": [{**VIEW, "id": "v"}], "extension": [{"url": "http://x", "valueReference": {"reference": "#v"}}]}  # fmt: skip  # noqa: E501
    assert api.post("Basic", json=basic).status_code == 400
    rest = api.get("metadata").json()["rest"][0]
    assert "ViewDefinition" not in [one["type"] for one in rest["resource"]]


def test_in_a_transaction(api: httpx.Client) -> None:
    """A Bundle that is sent here may hold ViewDefinitions."""
    entry = {"resource": VIEW, "request": {"method": "POST", "url": "ViewDefinition"}}
    answer = api.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert answer.json()["entry"][0]["response"]["status"].startswith("201"), answer.text
