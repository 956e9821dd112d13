"""Who and what records refer to outside of them comes along below a patient."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from api.conftest import serving
from exporting.asking import documents, manifest, manifests, names
from exporting.people import group, observation, of, patient
from oauth.world import OAuth

from fhir_server.exporting.writing import output
from fhir_server.jobs import work


def ref(name: str) -> dict[str, str]:
    return {"reference": name}


IN_WORDS = '"reference":"Practitioner/unknown"'
CARE = (
    of("Organization", "trust", name="Trust"),
    of("Organization", "ward", name="Ward", partOf=ref("Organization/trust")),
    of("Organization", "strange", name="Elsewhere"),
    of("Organization", "maker", name="Maker"),
    of("Location", "bed", name="Bed", managingOrganization=ref("Organization/ward")),
    *(of("Practitioner", id, active=id != "c") for id in ("a", "b", "c", "unknown")),
    of("PractitionerRole", "nurse", practitioner=ref("Practitioner/b"), organization=ref("Organization/ward")),
    of("Medication", "drug", manufacturer=ref("Organization/maker")),
    patient("p1", managingOrganization=ref("Organization/ward")),
    patient("p2", generalPractitioner=[ref("Practitioner/c")]),
    of("Device", "scale"),
    of("Device", "of-p1", patient=ref("Patient/p1")),
    of("Device", "of-p2", patient=ref("Patient/p2")),
    observation("weight", "Patient/p1", device=ref("Device/scale"), performer=[ref("PractitionerRole/nurse")]),
    observation("borrowed", "Patient/p1", "29463-7", device=ref("Device/of-p2"), performer=[ref("Practitioner/a/_history/1")]),
    of("MedicationRequest", "m", status="active", intent="order", subject=ref("Patient/p1"), medicationReference=ref("Medication/drug")),
    of(
        "Encounter", "visit", status="finished", subject=ref("Patient/p2"), location=[{"location": ref("Location/bed")}],
        **{"class": {"code": "AMB"}},
    ),
    of("Practitioner", "gone"),
    of("Condition", "noted", subject=ref("Patient/p2"), asserter=ref("Practitioner/gone"), note=[{"text": IN_WORDS}]),
    group("one", "Patient/p1"),
)  # fmt: skip
OF_P1 = [
    *("Device/scale", "Medication/drug", "Organization/maker", "Organization/trust", "Organization/ward"),
    *("Practitioner/a", "Practitioner/b", "PractitionerRole/nurse"),
]
OF_P2 = ["Location/bed", "Organization/trust", "Organization/ward", "Practitioner/c"]
BESIDE = {name.partition("/")[0] for name in (*OF_P1, *OF_P2)}


@pytest.fixture(scope="module")
def care(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("care"), CARE, rate_limit_polls="off", jobs_at_once=100) as client:
        client.delete("Practitioner/gone").raise_for_status()
        yield client


def beside(found: list[dict[str, Any]]) -> list[str]:
    """Those documents that lie in nobody's record."""
    return [name for name in names(found) if name.partition("/")[0] in BESIDE and not name.startswith("Device/of")]


def test_what_records_refer_to(care: httpx.Client) -> None:
    """[I35] Practitioners, organizations, places, medications, devices that documents of the export refer to, and those that these refer
    to, each once and none else; nothing that was deleted, nothing out of somebody else's record, nothing for words in a text."""
    everybody, one, system = manifests(care, "Patient/$export", "Group/one/$export", "$export")
    assert beside(documents(care, everybody)) == sorted({*OF_P1, *OF_P2})
    found = documents(care, one)
    assert beside(found) == OF_P1
    assert "Device/of-p1" in names(found) and "Device/of-p2" not in names(found)
    assert "Organization/strange" in names(documents(care, system))


def test_only_what_the_export_refers_to(care: httpx.Client) -> None:
    """Types, filters and `_since` decide what refers to something; what is referred to comes whenever it was written, and filters of its
    own type hold for it; `_elements` cuts it too."""
    now = manifest(care, "$export?_type=Organization")["transactionTime"]
    care.put(
        "Condition/new", json=of("Condition", "new", subject=ref("Patient/p1"), recorder=ref("Practitioner/b"))
    ).raise_for_status()
    paths = {
        "Patient/$export?_type=Observation,Practitioner": ["Practitioner/a"],
        "Patient/$export?_type=Observation,Practitioner,PractitionerRole": [
            "Practitioner/a",
            "Practitioner/b",
            "PractitionerRole/nurse",
        ],
        "Patient/$export?_type=Observation,PractitionerRole&_typeFilter=Observation?code=29463-7": [],
        f"Patient/$export?_since={now}": ["Practitioner/b"],
        "Patient/$export?_type=Patient,Condition,Practitioner&_typeFilter=Practitioner?active=true": ["Practitioner/b"],
        "Patient/$export?_type=Patient,Organization&_elements=Organization.id": ["Organization/trust", "Organization/ward"],
        "Patient/$export?_deidentify=safe-harbor&_type=Patient,Organization": 2,
    }
    told = manifests(care, *paths)
    for expected, each in zip(paths.values(), told, strict=True):
        found = documents(care, each)
        assert (len(beside(found)) if isinstance(expected, int) else beside(found)) == expected
    cut = [each for each in documents(care, told[5]) if each["resourceType"] == "Organization"]
    assert all("name" not in each and each["meta"]["tag"][-1]["code"] == "SUBSETTED" for each in cut)
    hidden = documents(care, told[6])
    orgs = {f"Organization/{each['id']}" for each in hidden if each["resourceType"] == "Organization"}
    assert {each["managingOrganization"]["reference"] for each in hidden if "managingOrganization" in each} <= orgs
    assert "Organization/ward" not in orgs
    care.delete("Condition/new").raise_for_status()


def test_in_files_of_bounded_size(care: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each type has its own files, full after so many documents, also where somebody else goes on after each file."""
    monkeypatch.setattr(output, "MOST", 2)
    monkeypatch.setattr(work, "FRESH", 0.0)
    told = manifest(
        care, "Group/one/$export?_type=Patient,Observation,MedicationRequest,Organization,Practitioner,PractitionerRole,Medication"
    )
    counts = [(item["type"], item["count"]) for item in told["output"] if item["type"] in BESIDE]
    assert counts == [("Medication", 1), ("Organization", 2), ("Organization", 1), ("Practitioner", 2), ("PractitionerRole", 1)]


def test_only_what_the_token_may_see(oauth: OAuth) -> None:
    """A token for patients and what they are about gets nobody else, and none at all where it has no type of a record."""
    oauth.http.put("/fhir/Observation/by-d", json=observation("by-d", "Patient/p1", performer=[ref("Practitioner/d")]),
                   headers=oauth.bearer("everything")).raise_for_status()  # fmt: skip

    def exported(scope: str) -> set[str]:
        token = oauth.service_token("backend", scope).json()["access_token"]
        with httpx.Client(base_url=f"{oauth.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
            return {each["resourceType"] for each in documents(client, manifest(client, "Patient/$export"))}

    assert exported("system/Observation.rs system/Practitioner.rs") == {"Observation", "Practitioner"}
    assert exported("system/Observation.rs system/Organization.rs") == {"Observation"}
    oauth.http.delete("/fhir/Observation/by-d", headers=oauth.bearer("everything")).raise_for_status()
