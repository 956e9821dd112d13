"""capabilities: http://hl7.org/fhir/R4/http.html#capabilities"""

import httpx
import pytest

from conformance.load import definitions
from conformance.validate import Validator
from resources import documents, structure


def test_statement_is_a_valid_resource(api: httpx.Client, base: str) -> None:
    """The CapabilityStatement keeps the rules of R4 and names this server."""
    answer = api.get("metadata")
    assert answer.status_code == 200
    assert structure.check(answer.content) == []
    found = Validator(definitions()).check("CapabilityStatement", documents.decode(answer.content))
    assert [issue for issue in found if issue.severity == "error"] == []
    body = answer.json()
    assert (body["fhirVersion"], body["implementation"]["url"]) == ("4.0.1", base)


def test_says_what_is_there(api: httpx.Client) -> None:
    """Interactions and operations are those of the REST table; what is refused is not claimed."""
    rest = api.get("metadata").json()["rest"][0]
    by_type = {one["type"]: one for one in rest["resource"]}
    assert len(by_type) == 146
    patient = {one["code"] for one in by_type["Patient"]["interaction"]}
    assert {"read", "vread", "create", "update", "patch", "delete", "search-type", "history-type"} <= patient
    assert "everything" in {one["name"] for one in by_type["Patient"]["operation"]}
    assert "everything" not in {one["name"] for one in by_type["Practitioner"]["operation"]}
    events = {one["code"] for one in by_type["AuditEvent"]["interaction"]}
    assert {"create", "read"} <= events
    assert not events & {"update", "patch", "delete"}
    assert {one["name"] for one in rest["searchParam"]} == {"_filter", "_has", "_list"}
    assert len(rest["compartment"]) == 5
    assert {one["code"] for one in rest["interaction"]} == {"batch", "transaction", "history-system", "search-system"}


def test_modes(api: httpx.Client) -> None:
    """mode=terminology answers TerminologyCapabilities; an unknown mode is 400."""
    found = api.get("metadata?mode=terminology")
    assert found.json()["resourceType"] == "TerminologyCapabilities"
    assert structure.check(found.content) == []
    assert api.get("metadata?mode=normative").json()["resourceType"] == "CapabilityStatement"
    assert api.get("metadata?mode=some").status_code == 400


@pytest.mark.parametrize("host", ["localhost:8080", "[::1]:80", "fhir.localhost"])
def test_base_follows_the_host(api: httpx.Client, host: str) -> None:
    """Without FHIR_BASE_URL the base is what the caller used."""
    answer = api.get("metadata", headers={"Host": host})
    assert answer.json()["implementation"]["url"] == f"http://{host}/fhir"


@pytest.mark.parametrize("host", ["example.org:8080", 'x"<script>', "a b"])
def test_a_foreign_host_is_refused_while_nobody_signs_in(api: httpx.Client, host: str) -> None:
    """A web page cannot reach the server through a visitor's browser under a name of its own."""
    answer = api.get("metadata", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert "<script>" not in answer.text


def test_is_not_audited(api: httpx.Client) -> None:
    """Nothing of a patient is in it, so it leaves no AuditEvent."""
    before = api.get("AuditEvent?_summary=count").json()["total"]
    api.get("metadata")
    assert api.get("AuditEvent?_summary=count").json()["total"] == before + 1


def test_includes_of_canonical_urls_are_claimed_and_done(api: httpx.Client) -> None:
    """References and canonicals stand among the includes, of the types that these may lead to; a canonical leads to what has its URL."""
    resources = {r["type"]: r for r in api.get("metadata").json()["rest"][0]["resource"]}
    included = {"QuestionnaireResponse:questionnaire", "QuestionnaireResponse:subject"}
    assert included <= set(resources["QuestionnaireResponse"]["searchInclude"])
    assert "QuestionnaireResponse:questionnaire" in resources["Questionnaire"]["searchRevInclude"]
    assert "Measure:depends-on" in resources["Library"]["searchRevInclude"]
    assert "Measure:depends-on" not in resources["Patient"]["searchRevInclude"]
    url = "http://capability.example/form"
    form = {"resourceType": "Questionnaire", "id": "ca-form", "status": "active", "url": url, "version": "1"}
    answered = {"resourceType": "QuestionnaireResponse", "id": "ca-answered", "status": "completed", "questionnaire": f"{url}|1"}
    for body in (form, answered):
        assert api.put(f"{body['resourceType']}/{body['id']}", json=body).status_code == 201
    for search, led in (
        ("QuestionnaireResponse?_id=ca-answered&_include=QuestionnaireResponse:questionnaire", "ca-form"),
        ("Questionnaire?_id=ca-form&_revinclude=QuestionnaireResponse:questionnaire", "ca-answered"),
    ):
        entries = api.get(search).json()["entry"]
        assert [e["resource"]["id"] for e in entries if e["search"]["mode"] == "include"] == [led]


def test_places_of_structural_problems_are_fhirpath(api: httpx.Client) -> None:
    """A choice is named without its type, in problems of structure as in those of rules."""
    body = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueQuantity": {"value": "1"}}
    issues = api.post("Observation", json=body, headers={"Content-Type": "application/fhir+json"}).json()["issue"]
    assert [issue["expression"] for issue in issues] == [["Observation.value.value"]]
