"""The pairs of engines that production runs on, MongoDB or PostgreSQL with Elasticsearch, over HTTP: two server processes, real engines."""

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from indexing.feed_harness import sweep
from indexing.serving import FHIR, Process, processes
from services.mongo.database import with_database
from services.running import own_server, service

STORES = {"mongo": {"MONGO_OPTIONS": "--sync-on-commit"}, "postgres": dict[str, str]()}
"""Engine -> options with which it keeps what it has answered when it is killed."""

QUICK = "?serverSelectionTimeoutMS=500"
"""For the URL of a MongoDB that is going to be killed: how long its driver looks for it."""

PRACTITIONER, PATIENT = "urn:uuid:3a1f5dc2-8c1e-4c5c-9d4c-9d8a3a3f0001", "urn:uuid:3a1f5dc2-8c1e-4c5c-9d4c-9d8a3a3f0002"


def _entry(url: str, **resource: Any) -> dict[str, Any]:
    return {"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


TRANSACTION = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        _entry(PRACTITIONER, resourceType="Practitioner", name=[{"family": "Müller"}]),
        _entry(
            PATIENT,
            resourceType="Patient",
            gender="female",
            name=[{"family": "Chalmers"}],
            generalPractitioner=[{"reference": PRACTITIONER}],
        ),
        *(
            _entry(
                f"urn:uuid:3a1f5dc2-8c1e-4c5c-9d4c-9d8a3a3f1{n:03}",
                resourceType="Observation",
                status="final",
                code={"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
                subject={"reference": PATIENT},
                effectiveDateTime=f"2026-01-{n + 1:02}",
                valueQuantity={"value": 60 + n, "system": "http://unitsofmeasure.org", "code": "kg"},
            )
            for n in range(5)
        ),
    ],
}

SEARCHES = {
    "Patient?name=chalm": 1,
    "Patient?general-practitioner:Practitioner.name=muller": 1,
    "Practitioner?_has:Patient:general-practitioner:gender=female": 1,
    "Observation?code=http://loinc.org|29463-7&value-quantity=gt62000|http://unitsofmeasure.org|g": 2,
    "Observation?date=le2026-01-02&subject:Patient.gender=female": 2,
    "Observation?date=gt2027": 0,
}


@pytest.mark.parametrize("name", STORES)
def test_a_pair_of_engines(tmp_path: Path, name: str) -> None:
    """What one process has answered the other finds at once; its searches mean what they should; when the database is killed, requests are
    503 until it is back, and nothing that was answered is lost."""
    url, prefix = service("elasticsearch"), f"pair{secrets.token_hex(4)}"
    with own_server(name, tmp_path / "store", **STORES[name]) as store:
        database = store.url if name == "postgres" else with_database(store.url, "pair") + QUICK
        settings = {"FHIR_STORE_URL": database, "FHIR_SEARCH_URL": url, "FHIR_SEARCH_PREFIX": prefix, "FHIR_SEARCH_WAIT": "30"}
        one, other = Process(tmp_path, **settings), Process(tmp_path, **settings)
        with processes(one, other):
            answer = one.client.post("", json=TRANSACTION, headers=FHIR)
            assert answer.status_code == 200, answer.text
            for text, expected in SEARCHES.items():
                assert other.total(f"{text}&_total=accurate") == expected, text
            _pages(one, other)
            _conditionally(one, other)
            _by_an_added_parameter(one, other)
            for n in range(4):
                writer, reader = (one, other) if n % 2 else (other, one)
                writer.put(f"p{n}", identifier=[{"system": "urn:n", "value": f"{n}"}])
                assert reader.total(f"Patient?identifier=urn:n|{n}") == 1, n
            store.kill()
            with ThreadPoolExecutor() as pool:
                refusals = pool.map(
                    lambda each: each[0].client.get(each[1]), [(one, "Patient/p0"), (other, "Patient?identifier=n|0")]
                )
            for refused in refusals:
                assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0, refused.text
            store.start()
            _back(one, "Patient/p0")
            _back(other, "Patient/p0")
            assert other.total("Patient?identifier=urn:n|&_summary=count") == 4
            one.put("after", gender="other")
            assert other.total("Patient?gender=other") == 1
    asyncio.run(sweep(url, prefix))


def _pages(one: Process, other: Process) -> None:
    """A page's link to the next one works in another process; all documents come once, in order, with what is included."""
    page = one.client.get("Observation?_sort=-date&_count=2&_include=Observation:subject").json()
    seen = []
    while True:
        seen += [each["resource"].get("effectiveDateTime", "Patient") for each in page["entry"]]
        following = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
        if following is None:
            break
        page = other.client.get(f"Observation?{httpx.URL(following).query.decode()}").json()
    assert seen == ["2026-01-05", "2026-01-04", "Patient", "2026-01-03", "2026-01-02", "Patient", "2026-01-01", "Patient"]


def _by_an_added_parameter(one: Process, other: Process) -> None:
    """A search parameter that one process is given, the other searches and sorts by."""
    definition = {
        "resourceType": "SearchParameter", "id": "kilos", "url": "http://example.org/SearchParameter/kilos", "name": "kilos",
        "status": "active", "description": "Weight", "code": "kilos", "base": ["Observation"], "type": "quantity",
        "expression": "Observation.value as Quantity",
    }  # fmt: skip
    assert one.client.put("SearchParameter/kilos", json=definition, headers=FHIR).status_code == 201
    deadline = time.monotonic() + 60
    while (answer := other.client.get("Observation?kilos=gt61&_sort=-kilos")).status_code != 200:
        assert answer.status_code in (400, 503) and time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    assert [entry["resource"]["valueQuantity"]["value"] for entry in answer.json()["entry"]] == [64, 63, 62]


def _conditionally(one: Process, other: Process) -> None:
    """The same conditional create through both processes makes one resource."""
    body = {"resourceType": "Patient", "identifier": [{"system": "urn:once", "value": "1"}]}
    headers = {**FHIR, "If-None-Exist": "identifier=urn:once|1"}
    assert [each.client.post("Patient", json=body, headers=headers).status_code for each in (one, other, one)] == [201, 200, 200]


def _back(process: Process, text: str) -> None:
    """Wait until a request is answered."""
    deadline = time.monotonic() + 60
    while (answer := process.client.get(text)).status_code != 200:
        assert answer.status_code == 503 and time.monotonic() < deadline, answer.text
        time.sleep(0.1)
