"""The CapabilityStatement says what the rows and parameters say, and is a valid resource."""

from dataclasses import dataclass
from typing import Any

from conformance.capability import build
from conformance.load import definitions
from conformance.validate import Validator
from resources import structure
from resources.documents import decode, encode


@dataclass(frozen=True)
class Row:
    method: str
    pattern: str
    interaction: str
    types: tuple[str, ...] = ()
    conditional: bool = False
    definition: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parameter:
    code: str
    kind: str
    url: str
    ends: tuple[str, ...] = ()

    @property
    def included(self) -> bool:
        return self.kind == "reference"


ROWS = (
    Row("GET", "metadata", "capabilities"),
    Row("POST", "", "batch"),
    Row("GET", "_history", "history-system"),
    Row("GET", "[type]", "search-type"),
    Row("POST", "[type]/_search", "search-type"),
    Row("POST", "[type]", "create"),
    Row("PUT", "[type]", "update", conditional=True),
    Row("GET", "[type]/[id]", "read"),
    Row("PUT", "[type]/[id]", "update"),
    Row("DELETE", "[type]/[id]", "delete", types=("Patient", "Observation")),
    Row("GET", "[type]/[id]/_history/[vid]", "vread"),
)
DEFINITION = "http://hl7.org/fhir/OperationDefinition/Patient-everything"
OPERATIONS = (
    Row("GET", "[type]/[id]/$everything", "operation", ("Patient",), definition=DEFINITION),
    Row("POST", "[type]/[id]/$everything", "operation", ("Patient",), definition=DEFINITION),
    Row("GET", "$meta", "operation", definition="http://hl7.org/fhir/OperationDefinition/Resource-meta"),
)
PARAMETERS = {
    "Patient": [Parameter("name", "string", "http://hl7.org/fhir/SearchParameter/individual-name"),
                Parameter("link", "reference", "http://hl7.org/fhir/SearchParameter/Patient-link", ("Patient", "RelatedPerson"))],
    "Observation": [Parameter("subject", "reference", "http://hl7.org/fhir/SearchParameter/Observation-subject", ("Patient", "Group")),
                    Parameter("focus", "reference", "http://hl7.org/fhir/SearchParameter/Observation-focus")],
}  # fmt: skip


def statement(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "interactions": ROWS, "operations": OPERATIONS, "resource_types": ("Account", "Observation", "Patient"),
        "search_parameters": PARAMETERS, "base_url": "http://127.0.0.1:8000/fhir", "version": "0.1.0", "date": "2026-01-01T00:00:00Z",
        "security": {"cors": True}, "compartments": ("http://hl7.org/fhir/CompartmentDefinition/patient",),
    }  # fmt: skip
    return build(**{**arguments, **changes})


def of(type: str, **changes: Any) -> dict[str, Any]:
    [found] = [r for r in statement(**changes)["rest"][0]["resource"] if r["type"] == type]
    return dict(found)


def test_it_is_a_valid_resource() -> None:
    """No error of structure, invariants or bindings."""
    body = encode(statement())
    assert structure.check(body) == []
    found = Validator(definitions()).check("CapabilityStatement", decode(body))
    assert [issue for issue in found if issue.severity == "error"] == []


def test_interactions_are_those_of_the_rows() -> None:
    """Each once, in a fixed order; rows for some types count for these only."""
    assert [i["code"] for i in of("Patient")["interaction"]] == ["read", "vread", "update", "delete", "create", "search-type"]
    assert "delete" not in [i["code"] for i in of("Account")["interaction"]]
    assert [i["code"] for i in statement()["rest"][0]["interaction"]] == ["transaction", "batch", "history-system"]


def test_conditional_claims_follow_the_rows() -> None:
    """A conditional row makes the claim, its absence withdraws it."""
    found = of("Patient")
    assert (found["conditionalUpdate"], found["conditionalDelete"]) == (True, "not-supported")
    assert of("Patient", interactions=[r for r in ROWS if not r.conditional])["conditionalUpdate"] is False


def test_search_parameters_and_includes() -> None:
    """Parameters of the type; includes are its references, reverse includes those that may point to it."""
    patient, account = of("Patient"), of("Account")
    assert [p["name"] for p in patient["searchParam"]] == ["link", "name"]
    assert patient["searchInclude"] == ["Patient:link"]
    assert sorted(patient["searchRevInclude"]) == ["Observation:focus", "Observation:subject", "Patient:link"]
    assert account["searchRevInclude"] == ["Observation:focus"]
    assert "searchParam" not in account


def test_operations_stand_where_they_are_called() -> None:
    """Once each, by name, at their types or at the system."""
    assert of("Patient")["operation"] == [{"name": "everything", "definition": DEFINITION}]
    assert "operation" not in of("Account")
    assert [o["name"] for o in statement()["rest"][0]["operation"]] == ["meta"]


def test_an_operation_without_a_definition_is_not_claimed() -> None:
    """There is nothing to claim of an operation that nobody defined."""
    [rest] = statement(operations=[Row("GET", "[type]/$everything", "operation"), Row("GET", "$job/[id]", "operation")])["rest"]
    assert "operation" not in rest and not any("operation" in each for each in rest["resource"])


def test_an_operation_may_have_several_names() -> None:
    """Clients look for one or the other."""
    row = Row("GET", "[type]/$export", "operation", definition=DEFINITION, also=("patient-export",))
    [rest] = statement(operations=[row])["rest"]
    assert [each["name"] for each in rest["resource"][0]["operation"]] == ["export", "patient-export"]
