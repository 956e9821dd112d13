"""fhirpy (https://github.com/beda-software/fhir-py) drives the server."""

from typing import Any

import pytest
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound
from robustness.running import Server

SYSTEM = "http://example.org/fhirpy"


@pytest.fixture(scope="module")
def client(server: Server) -> SyncFHIRClient:
    """The client, without special settings."""
    return SyncFHIRClient(server.base)


@pytest.fixture
def strict(server: Server) -> SyncFHIRClient:
    """A client that asks for lenient handling, since fhirpy's `count` sends a parameter of another server (`_totalMethod`)."""
    return SyncFHIRClient(server.base, extra_headers={"Prefer": "handling=lenient"})


def make(client: SyncFHIRClient, family: str, **more: Any) -> Any:
    """A saved Patient of that family."""
    patient = client.resource("Patient", name=[{"family": family, "given": ["Ada"]}], gender="female", **more)
    patient.save()
    return patient


def test_capabilities(client: SyncFHIRClient) -> None:
    """The CapabilityStatement can be fetched and names the version."""
    assert client.execute("metadata", method="get")["fhirVersion"] == "4.0.1"


def test_create_read_update_history(client: SyncFHIRClient) -> None:
    """A resource is created, read, updated, refreshed, read in its first version, and its history tells of both versions."""
    patient = make(client, "Fhirpy-Life")
    assert patient["meta"]["versionId"] == "1"
    again = client.reference("Patient", patient.id).to_resource()
    again["birthDate"] = "1980-05-06"
    again.save()
    assert again["meta"]["versionId"] == "2"
    patient.refresh()
    assert patient["birthDate"] == "1980-05-06"
    patient.refresh()  # If-None-Match with the bare version: answered 304
    first = client.execute(f"Patient/{patient.id}/_history/1", method="get")
    assert "birthDate" not in first
    history = client.execute(f"Patient/{patient.id}/_history", method="get")
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["2", "1"]


def test_search_pages(client: SyncFHIRClient) -> None:
    """`fetch_all` follows the next links through all pages; `first` and `get` find what they should."""
    for number in range(7):
        make(client, "Fhirpy-Pages", birthDate=f"19{60 + number}-01-01")
    found = client.resources("Patient").search(family="Fhirpy-Pages").sort("-birthdate").limit(3).fetch_all()
    assert [patient["birthDate"][:4] for patient in found] == ["1966", "1965", "1964", "1963", "1962", "1961", "1960"]
    assert client.resources("Patient").search(family="Fhirpy-Pages", birthdate__ge="1966").get()["birthDate"] == "1966-01-01"
    assert client.resources("Patient").search(family="Fhirpy-Nobody").first() is None


def test_count(strict: SyncFHIRClient) -> None:
    """`count` works where unknown parameters may be ignored."""
    make(strict, "Fhirpy-Count")
    assert strict.resources("Patient").search(family="Fhirpy-Count").count() == 1


def test_conditional_create(client: SyncFHIRClient) -> None:
    """`get_or_create` makes a resource once."""
    values: dict[str, Any] = {"identifier": [{"system": SYSTEM, "value": "cond"}]}
    criteria = client.resources("Patient").search(identifier=f"{SYSTEM}|cond")
    first, second = client.resource("Patient", **values), client.resource("Patient", **values)
    first.save()
    found, created = criteria.update(second)
    assert (found.id, created) == (first.id, False)


def test_references_and_include(client: SyncFHIRClient) -> None:
    """An Appointment is found with its Patient in the same Bundle."""
    patient = make(client, "Fhirpy-Include")
    participant = [{"actor": patient.to_reference(), "status": "accepted"}]
    client.resource("Appointment", status="proposed", participant=participant).save()
    bundle = client.resources("Appointment").search(patient=patient.id).include("Appointment", "patient").fetch_raw()
    assert [entry["resource"]["resourceType"] for entry in bundle["entry"]] == ["Appointment", "Patient"]


def test_transaction(client: SyncFHIRClient) -> None:
    """A transaction with a reference between its entries is carried out."""
    entries = [
        {"fullUrl": "urn:uuid:7c6d4f5e-0e3c-4c5e-9c0b-111111111111", "request": {"method": "POST", "url": "Patient"},
         "resource": {"resourceType": "Patient", "name": [{"family": "Fhirpy-Transaction"}]}},
        {"request": {"method": "POST", "url": "Appointment"},
         "resource": {"resourceType": "Appointment", "status": "proposed", "participant": [
             {"actor": {"reference": "urn:uuid:7c6d4f5e-0e3c-4c5e-9c0b-111111111111"}, "status": "accepted"}]}},
    ]  # fmt: skip
    answer = client.execute("", data={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["201", "201"]
    patient = client.resources("Patient").search(family="Fhirpy-Transaction").get()
    assert client.resources("Appointment").search(patient=patient.id).get()["status"] == "proposed"


def test_delete(client: SyncFHIRClient) -> None:
    """A deleted resource is gone; reading it raises fhirpy's ResourceNotFound with our OperationOutcome in it."""
    patient = make(client, "Fhirpy-Delete")
    patient.delete()
    with pytest.raises(ResourceNotFound, match="OperationOutcome"):
        client.reference("Patient", patient.id).to_resource()


def test_errors(client: SyncFHIRClient) -> None:
    """What is wrong reaches the caller as fhirpy's OperationOutcome, with the place and the reason."""
    with pytest.raises(OperationOutcome) as refused:
        client.resource("Patient", gender="unheard-of", birthDate="1980-02-30").save()
    text = str(refused.value.resource)
    assert "Patient.gender" in text and "Patient.birthDate" in text
    with pytest.raises(OperationOutcome) as unknown:
        client.resources("Patient").search(famly="x").fetch()
    assert "family" in str(unknown.value.resource)
    with pytest.raises(MultipleResourcesFound, match="OperationOutcome"):
        make(client, "Fhirpy-Many")
        make(client, "Fhirpy-Many")
        client.resources("Patient").search(family="Fhirpy-Many").update(client.resource("Patient"))


def test_validate(client: SyncFHIRClient) -> None:
    """`is_valid` asks $validate."""
    assert client.resource("Patient", gender="female").is_valid()
    assert not client.resource("Patient", gender="unheard-of").is_valid()
