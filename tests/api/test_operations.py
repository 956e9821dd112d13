"""$validate, $meta and $everything: http://hl7.org/fhir/R4/operationslist.html"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import FHIR, problem
from tests.api.making import pages

Put = Callable[[dict[str, Any]], httpx.Response]


def wrapped(resource: dict[str, Any] | None, **more: str) -> dict[str, Any]:
    parameter: list[dict[str, Any]] = [{"name": name, "valueCode" if name == "mode" else "valueUri": v} for name, v in more.items()]
    if resource is not None:
        parameter.append({"name": "resource", "resource": resource})
    return {"resourceType": "Parameters", "parameter": parameter}


def severities(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    return {issue["severity"] for issue in answer.json()["issue"]}


GOOD = {"resourceType": "Patient", "id": "val", "active": True}
BAD = {"resourceType": "Patient", "gender": "x"}


def test_validate_takes_a_resource_or_parameters(api: httpx.Client) -> None:
    """http://hl7.org/fhir/R4/resource-operation-validate.html: the verdict is 200 with an OperationOutcome."""
    assert "error" not in severities(api.post("Patient/$validate", json=GOOD, headers=FHIR))
    assert "error" in severities(api.post("Patient/$validate", json=BAD, headers=FHIR))
    assert "error" in severities(api.post("Patient/$validate", json=wrapped(BAD), headers=FHIR))
    assert "error" not in severities(api.post("Patient/$validate", json=wrapped(GOOD, mode="create"), headers=FHIR))
    assert "error" in severities(api.post("Practitioner/$validate", json=GOOD, headers=FHIR))
    assert "error" in severities(api.post("Patient/$validate", content=b'{"resourceType":"Patient",', headers=FHIR))
    assert api.get("Patient/val").status_code == 404


def test_validate_tells_what_a_create_would(api: httpx.Client) -> None:
    """Wrong structure, rules and type are told at once, in the same words as by a create."""
    for wrong in (BAD | {"birthDate": "2020-13-01", "foo": 1}, {"resourceType": "Observation", "status": "x"}):
        verdict = api.post("Patient/$validate", json=wrong, headers=FHIR).json()["issue"]
        assert verdict == api.post("Patient", json=wrong, headers=FHIR).json()["issue"]
        assert len(verdict) == 3 if "foo" in wrong else verdict[-1]["expression"] == ["resourceType"]


def test_validate_says_which_profiles_it_did_not_check(api: httpx.Client) -> None:
    """A claimed profile that is not known is a warning, never passed over in silence."""
    base, other = "http://hl7.org/fhir/StructureDefinition/Patient", "http://example.org/StructureDefinition/p"
    answer = api.post("Patient/$validate", json=GOOD | {"meta": {"profile": [base, other]}}, headers=FHIR)
    told = [i for i in answer.json()["issue"] if i["code"] == "not-supported"]
    assert [(i["severity"], i["expression"]) for i in told] == [("warning", ["Patient.meta.profile[1]"])]


def test_validate_of_an_instance(api: httpx.Client, put: Put) -> None:
    """Without a body the stored resource is validated; with mode=update the id has to agree."""
    put(GOOD | {"id": "val-1"})
    assert "error" not in severities(api.get("Patient/val-1/$validate"))
    assert "error" in severities(api.post("Patient/val-1/$validate", json=wrapped(GOOD, mode="update"), headers=FHIR))
    assert "error" not in severities(api.post("Patient/val-1/$validate", json=wrapped(None, mode="delete"), headers=FHIR))
    assert api.get("Patient/val-none/$validate").status_code == 404


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (wrapped(GOOD, mode="sometimes"), "mode must be one of"),
        (wrapped(GOOD, profile="http://example.org/p"), "is not known here"),
        (wrapped(GOOD, colour="red"), "no parameter colour"),
        (wrapped(None), "nothing to validate"),
    ],
)
def test_validate_refuses_what_it_cannot_do(api: httpx.Client, body: dict[str, Any], word: str) -> None:
    """An unknown mode, profile or parameter, or no resource, is 400."""
    answer = api.post("Patient/$validate", json=body, headers=FHIR)
    assert answer.status_code == 400
    assert word in problem(answer)


def meta(**lists: Any) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": lists}]}


def returned(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    [parameter] = answer.json()["parameter"]
    assert parameter["name"] == "return"
    found: dict[str, Any] = parameter["valueMeta"]
    return found


A, B = {"system": "urn:t", "code": "a"}, {"system": "urn:t", "code": "b"}


def test_meta_add_and_delete(api: httpx.Client, put: Put) -> None:
    """http://hl7.org/fhir/R4/resource-operation-meta-add.html: each change is a new version; none where nothing changes."""
    put(GOOD | {"id": "meta-1", "meta": {"tag": [A]}})
    added = returned(api.post("Patient/meta-1/$meta-add", json=meta(tag=[A, B]), headers=FHIR))
    assert (added["tag"], added["versionId"]) == ([A, B], "2")
    same = returned(api.post("Patient/meta-1/$meta-add", json=meta(tag=[A | {"display": "again"}]), headers=FHIR))
    assert same["versionId"] == "2"
    less = returned(api.post("Patient/meta-1/$meta-delete", json=meta(tag=[A]), headers=FHIR))
    assert (less["tag"], less["versionId"]) == ([B], "3")
    assert returned(api.get("Patient/meta-1/$meta")) == less
    assert api.get("Patient/meta-1").json()["active"] is True
    assert api.get("Patient?_tag=urn:t|b&_id=meta-1").json()["total"] == 1
    assert api.post("Patient/meta-1/$meta-add", json=meta(tag=[A]), headers=FHIR | {"If-Match": 'W/"1"'}).status_code == 412


def test_meta_of_a_type_and_of_all(api: httpx.Client, put: Put) -> None:
    """http://hl7.org/fhir/R4/resource-operation-meta.html: everything in use, once."""
    put({"resourceType": "Basic", "id": "meta-2", "code": {"text": "x"}, "meta": {"tag": [A]}})
    put({"resourceType": "Basic", "id": "meta-3", "code": {"text": "x"}, "meta": {"tag": [A, B], "profile": ["urn:p"]}})
    found = returned(api.get("Basic/$meta"))
    assert found["tag"] == [A, B]
    assert found["profile"] == ["urn:p"]
    assert B in returned(api.get("$meta"))["tag"]


@pytest.mark.parametrize("body", [{"resourceType": "Parameters"}, {"resourceType": "Patient"}, meta(tag="x")])
def test_meta_add_needs_a_meta(api: httpx.Client, put: Put, body: dict[str, Any]) -> None:
    """A body without a valid parameter `meta` is 400."""
    put(GOOD | {"id": "meta-4"})
    assert api.post("Patient/meta-4/$meta-add", json=body, headers=FHIR).status_code == 400


@pytest.fixture
def record(put: Put) -> None:
    put({"resourceType": "Practitioner", "id": "ev-dr"})
    put({"resourceType": "Patient", "id": "ev", "generalPractitioner": [{"reference": "Practitioner/ev-dr"}]})
    put({"resourceType": "Patient", "id": "ev-other"})
    for n, who in enumerate(["ev", "ev", "ev", "ev-other"]):
        put(
            {
                "resourceType": "Observation", "id": f"ev-{n}", "status": "final", "code": {"text": "x"},
                "subject": {"reference": f"Patient/{who}"}, "effectiveDateTime": f"202{n}-01-01",
            }
        )  # fmt: skip


def everything(api: httpx.Client, query: str = "") -> list[str]:
    """Type and id of every document of every page, in order."""
    whole = pages(api, f"Patient/ev/$everything?{query}")
    return [f"{e['resource']['resourceType']}/{e['resource']['id']}" for page in whole for e in page.get("entry", [])]


@pytest.mark.usefixtures("record")
def test_everything_is_the_record_and_what_it_refers_to(api: httpx.Client) -> None:
    """http://hl7.org/fhir/R4/patient-operation-everything.html: nothing of another patient, no record of accesses."""
    found = everything(api)
    assert found[0] == "Patient/ev"
    assert sorted(found) == ["Observation/ev-0", "Observation/ev-1", "Observation/ev-2", "Patient/ev", "Practitioner/ev-dr"]
    assert sorted(set(everything(api, "_count=1"))) == sorted(found)


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    ("query", "observations"),
    [
        ("start=2021-01-01", ["ev-1", "ev-2"]),
        ("end=2021-01-01", ["ev-0", "ev-1"]),
        ("start=2021&end=2021-12-31", ["ev-1"]),
        ("_since=2100-01-01T00:00:00Z", []),
        ("_type=Patient", []),
        ("_type=Observation", ["ev-0", "ev-1", "ev-2"]),
    ],
)
def test_everything_narrowed(api: httpx.Client, query: str, observations: list[str]) -> None:
    """start and end go by the clinical date, _since by the last change, _type by the type."""
    found = everything(api, query)
    assert sorted(name.partition("/")[2] for name in found if name.startswith("Observation/")) == observations


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_type=Organization", {"Organization/ev-org"}),
        ("_type=Practitioner", {"Practitioner/ev-dr"}),
        ("_type=Practitioner,Observation", {"Practitioner/ev-dr", *(f"Observation/ev-{n}" for n in range(3))}),
        ("_type=Organization&start=2021&end=2021-12-31", set()),
        ("_type=Medication", set()),
    ],
)
def test_everything_by_the_types_referred_to(api: httpx.Client, put: Put, query: str, expected: set[str]) -> None:
    """_type names referred-to types too: they come without the documents that refer to them, on pages of any size."""
    put({"resourceType": "Organization", "id": "ev-org", "name": "ev"})
    performed = {"subject": {"reference": "Patient/ev"}, "performer": [{"reference": "Organization/ev-org"}]}
    put(
        {"resourceType": "Observation", "id": "ev-0", "status": "final", "code": {"text": "x"}, "effectiveDateTime": "2020"}
        | performed
    )
    assert set(everything(api, query)) == expected
    assert set(everything(api, f"{query}&_count=1")) == expected


@pytest.mark.parametrize("query", ["_type=Patients", "_count=0", "_count=x", "colour=red", "start=soon", "_since=soon"])
def test_everything_refuses(api: httpx.Client, put: Put, query: str) -> None:
    """Parameters that cannot be understood are 400."""
    put({"resourceType": "Patient", "id": "ev"})
    answer = api.get(f"Patient/ev/$everything?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in problem(answer)


def test_everything_of_nobody(api: httpx.Client, put: Put) -> None:
    """404 for a patient that never was, 410 for a deleted one, 404 for another type."""
    assert api.get("Patient/ev-never/$everything").status_code == 404
    put({"resourceType": "Patient", "id": "ev-gone"})
    api.delete("Patient/ev-gone")
    assert api.get("Patient/ev-gone/$everything").status_code == 410
    assert "only for Patient" in problem(api.get("Practitioner/x/$everything"))


def test_unknown_operation(api: httpx.Client) -> None:
    """An operation that is not there is 404 with those that are."""
    answer = api.get("Patient/x/$nothing")
    assert answer.status_code == 404
    assert "$everything" in problem(answer)


def test_operation_at_the_wrong_place(api: httpx.Client) -> None:
    """404 says where the operation is offered."""
    assert problem(api.get("Patient/$everything")) == "'$everything' is not offered here, only at [base]/[type]/[id]/$everything"
