"""SMART's Python client, fhirclient (https://github.com/smart-on-fhir/client-py), drives the server."""

import pytest
from fhirclient import client as smart
from fhirclient.models.appointment import Appointment
from fhirclient.models.bundle import Bundle, BundleEntry, BundleEntryRequest
from fhirclient.models.fhirdate import FHIRDate
from fhirclient.models.humanname import HumanName
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRServer
from requests import HTTPError
from robustness.running import Server


@pytest.fixture(scope="module")
def remote(server: Server) -> FHIRServer:
    """The client's side of the server, prepared as its README says."""
    client = smart.FHIRClient(settings={"app_id": "tests", "api_base": server.base})
    client.prepare()
    assert client.server is not None
    return client.server


def make(remote: FHIRServer, family: str, birth: str = "1970-01-01") -> Patient:
    """A Patient of that family, created and read back."""
    patient = Patient()
    patient.name = [HumanName({"family": family, "given": ["Ada"]})]
    patient.birthDate = FHIRDate(birth)
    made = patient.create(remote)
    assert made is not None
    return Patient.read(made["id"], remote)


def test_capabilities(remote: FHIRServer) -> None:
    """The client's strict model of a CapabilityStatement accepts ours."""
    statement = remote.capabilityStatement
    assert statement.fhirVersion == "4.0.1"
    assert "Patient" in {resource.type for resource in statement.rest[0].resource}


def test_create_read_update(remote: FHIRServer) -> None:
    """A resource is created, read, updated, and its versions read."""
    patient = make(remote, "Fhirclient-Life")
    assert patient.meta.versionId == "1"
    patient.gender = "female"
    patient.update(remote)
    assert Patient.read(patient.id, remote).meta.versionId == "2"
    assert Patient.read_from(f"Patient/{patient.id}/_history/1", remote).gender is None
    history = Bundle.read_from(f"Patient/{patient.id}/_history", remote)
    assert [entry.request.method for entry in history.entry] == ["PUT", "POST"]


def test_search_pages(remote: FHIRServer) -> None:
    """`perform_resources_iter` follows the next links through all pages."""
    for year in range(1960, 1967):
        make(remote, "Fhirclient-Pages", f"{year}-01-01")
    search = Patient.where({"family": "Fhirclient-Pages", "_count": "3", "_sort": "birthdate"})
    assert [patient.birthDate.isostring[:4] for patient in search.perform_resources_iter(remote)] == [
        str(y) for y in range(1960, 1967)
    ]
    assert len(list(search.perform_iter(remote))) == 3


def test_search_struct(remote: FHIRServer) -> None:
    """The client's own way to say ranges and alternatives is understood."""
    make(remote, "Fhirclient-Range", "1950-06-07")
    make(remote, "Fhirclient-Range", "1990-06-07")
    search = Patient.where({"family": {"$or": ["Fhirclient-Range", "Nobody"]}, "birthdate": {"$and": ["ge1980", "lt2000"]}})
    assert [patient.birthDate.isostring for patient in search.perform_resources_iter(remote)] == ["1990-06-07"]


def test_transaction_and_include(remote: FHIRServer) -> None:
    """A transaction made of the client's models is carried out, and an Appointment is found with its Patient."""
    bundle, entries = Bundle({"type": "transaction"}), []
    uuid = "urn:uuid:3f2c9a52-6b0f-4d55-8c4f-222222222222"
    participant = [{"actor": {"reference": uuid}, "status": "accepted"}]
    for resource, full_url in (
        (Patient({"name": [{"family": "Fhirclient-Transaction"}]}), uuid),
        (Appointment({"status": "proposed", "participant": participant}), None),
    ):
        entry = BundleEntry()
        entry.resource, entry.fullUrl = resource, full_url
        entry.request = BundleEntryRequest({"method": "POST", "url": resource.resource_type})
        entries.append(entry)
    bundle.entry = entries
    answer = remote.post_json("", bundle.as_json()).json()
    assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["201", "201"]
    made = answer["entry"][1]["response"]["location"].split("/")[-3]
    found = Bundle.read_from(f"Appointment?_id={made}&_include=Appointment:patient", remote)
    assert [entry.resource.resource_type for entry in found.entry] == ["Appointment", "Patient"]


def test_delete(remote: FHIRServer) -> None:
    """A deleted resource answers 410 with an OperationOutcome, one that never was answers 404."""
    patient = make(remote, "Fhirclient-Delete")
    patient.delete(remote)
    with pytest.raises(HTTPError) as gone:
        Patient.read(patient.id, remote)
    assert gone.value.response.status_code == 410
    assert gone.value.response.json()["resourceType"] == "OperationOutcome"
    with pytest.raises(FHIRNotFoundException) as missing:
        Patient.read("never-made", remote)
    assert missing.value.response.json()["issue"][0]["code"] == "not-found"


def test_errors(remote: FHIRServer) -> None:
    """What is wrong reaches the caller: the answer of the HTTPError is an OperationOutcome with place and reason."""
    patient = Patient({"gender": "unheard-of"})
    with pytest.raises(HTTPError) as refused:
        patient.create(remote)
    issue = refused.value.response.json()["issue"][0]
    assert (issue["severity"], issue["expression"]) == ("error", ["Patient.gender"])
