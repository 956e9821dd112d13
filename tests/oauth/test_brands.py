"""User-access brands (https://hl7.org/fhir/smart-app-launch/STU2.2/brands.html)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oauth.world import OAuth, refused

from smart_auth.brands.bundle import read_brands

PORTAL = "http://hl7.org/fhir/StructureDefinition/organization-portal"


@pytest.fixture(scope="module")
def branded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    one = OAuth(tmp_path_factory.mktemp("branded"), brand_name="Good <Health> & Co", brand_url="https://goodhealth.example")
    yield one
    one.close()


def entries(bundle: dict[str, Any], type: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == type]


def test_the_bundle(branded: OAuth) -> None:
    """[J2] Anybody may have it, scripts of any site too; it has a weak ETag, by which it is not sent again."""
    url = branded.http.get("/fhir/.well-known/smart-configuration").json()["user_access_brand_bundle"]
    answer = branded.http.get(url, headers={"Origin": "https://app.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["etag"].startswith('W/"')
    again = branded.http.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert branded.http.get(url, headers={"If-None-Match": 'W/"other"'}).json() == answer.json()


def test_what_is_in_it(branded: OAuth) -> None:
    """[J3] A collection with a timestamp; the portal's endpoints are the organization's, all are there, and their address answers."""
    answer = branded.http.get("/oauth/brands")
    bundle = answer.json()
    assert bundle["type"] == "collection" and bundle["timestamp"]
    checked = branded.http.post("/fhir/Bundle/$validate", json=bundle, headers=branded.bearer("everything"))
    assert not {"error", "fatal"} & {issue["severity"] for issue in checked.json()["issue"]}, checked.text
    (brand,), (endpoint,) = entries(bundle, "Organization"), entries(bundle, "Endpoint")
    assert brand["name"] == "Good <Health> & Co" and brand["active"] is True
    assert brand["telecom"] == [{"system": "url", "value": "https://goodhealth.example"}]
    portal = next(each for each in brand["extension"] if each["url"] == PORTAL)["extension"]
    pointed = [each["valueReference"] for each in portal if each["url"] == "portalEndpoint"]
    assert pointed == brand["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]
    assert endpoint["connectionType"]["code"] == "hl7-fhir-rest" and endpoint["status"] == "active"
    assert branded.http.get(f"{endpoint['address']}/metadata").status_code == 200


def test_which_brand_is_ours(branded: OAuth) -> None:
    """[J3] The identifier in the SMART configuration is that of exactly one brand."""
    named = branded.http.get("/fhir/.well-known/smart-configuration").json()["user_access_brand_identifier"]
    brands = entries(branded.http.get("/oauth/brands").json(), "Organization")
    assert sum(named in brand["identifier"] for brand in brands) == 1


def test_no_brand(oauth: OAuth) -> None:
    """[J2] Without a brand there is no bundle, and discovery names none."""
    refused_at = oauth.http.get("/oauth/brands")
    refused(refused_at, "not_found", 404)
    assert not {"user_access_brand_bundle", "user_access_brand_identifier"} & set(
        oauth.http.get("/fhir/.well-known/smart-configuration").json()
    )


ENDPOINT = {"resource": {"resourceType": "Endpoint", "id": "r4", "address": "https://goodhealth.example/fhir"}}
BRAND = {
    "resource": {
        "resourceType": "Organization", "id": "one", "name": "One", "endpoint": [{"reference": "Endpoint/r4"}],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": "https://goodhealth.example"}],
    }
}  # fmt: skip


def bundle_of(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": list(parts)} | more


def test_a_file(tmp_path: Path) -> None:
    """[J3] A Bundle of one's own, with as many brands as there are, is published as it is."""
    file = tmp_path / "brands.json"
    file.write_text(json.dumps(bundle_of(BRAND, ENDPOINT, timestamp="2026-01-02T03:04:05Z")))
    one = OAuth(tmp_path / "data", brand_file=file)
    try:
        assert one.http.get("/oauth/brands").json() == json.loads(file.read_text())
    finally:
        one.close()


DANGLING = {"url": PORTAL, "extension": [{"url": "portalEndpoint", "valueReference": {"reference": "Endpoint/none"}}]}
BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("x", "no JSON"),
    "no Bundle": ({"resourceType": "Organization"}, "no Bundle"),
    "a searchset": (bundle_of(BRAND, ENDPOINT, type="searchset"), "no Bundle of type collection"),
    "empty": (bundle_of(), "must have entries"),
    "something else in it": (bundle_of(BRAND, ENDPOINT, {"resource": {"resourceType": "Patient", "id": "1"}}), "only Organizations"),
    "a dangling endpoint": (bundle_of(BRAND), "names Endpoint/r4"),
    "a dangling endpoint of a portal": (
        bundle_of({"resource": BRAND["resource"] | {"extension": [DANGLING]}}, ENDPOINT), "names Endpoint/none"
    ),
    "no brand": (bundle_of(ENDPOINT), "no Organization"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_use(name: str, tmp_path: Path) -> None:
    """[J3] What is wrong with it is said at the start."""
    content, text = BAD[name]
    file = tmp_path / "brands.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=text):
        read_brands(file)
    with pytest.raises(ValueError, match="No such file"):
        read_brands(tmp_path / "nothing.json")
