"""Which of the documents, and which parts of them: `_typeFilter`, `_elements`, `_since`, `_until`."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from exporting.asking import begin, begun, documents, ended, lines, manifest, manifests, names, post
from exporting.people import patient

from fhir_server.exporting import snapshot
from fhir_server.exporting.writing import output

FILTERS: tuple[tuple[str, tuple[str, ...], list[str]], ...] = (
    ("Patient", ("Patient?active=true",), ["p1"]),
    ("Patient", ("Patient?birthdate=lt1985", "Patient?active=false"), ["p1", "p3"]),
    ("Patient", ("Patient?active:missing=true&_id=p1,p2,p4",), ["p2", "p4"]),
    ("Patient", ("Patient?active=true,Patient?name=p2",), ["p1", "p2"]),
    ("Patient", ("Patient?_lastUpdated=lt2020",), []),
    ("Patient", ("Patient?_filter=name eq p4 or active eq true",), ["p1", "p4"]),
    ("Observation", ("Observation?code=718-7&date=ge2026",), ["o2"]),
    ("Observation", ("Observation?value-quantity=lt73",), ["o1"]),
    ("Observation", ("Observation?subject:Patient.active=true",), ["o1"]),
    ("Observation", ("Observation?patient.name=p2", "Observation?code=http://loinc.org|8867-4&patient=p3"), ["o2", "o3"]),
    ("Observation", ("Observation?_content=718-7",), ["o2", "o4"]),
    ("Patient", ("Patient?_has:Observation:patient:code=718-7",), ["p2", "p4"]),
    ("Patient", ("Patient?_has:Observation:patient:code:not=718-7",), ["p1", "p3"]),
)


def test_filters(bulk: httpx.Client) -> None:
    """[I14, I35] Any search of the type, about the document or about others; of several one must hold. Other types are not touched."""
    urls = [
        begun(post(bulk, "Patient/$export", ("_type", f"{type},Condition"), *(("_typeFilter", each) for each in filters)))
        for type, filters, _ in FILTERS
    ]
    for url, (type, filters, found) in zip(urls, FILTERS, strict=True):
        told = names(documents(bulk, ended(bulk, url)))
        assert [name.partition("/")[2] for name in told if name.startswith(f"{type}/")] == found, filters
        assert [name for name in told if name.startswith("Condition/")] == ["Condition/c1", "Condition/c2"]


def test_elements(bulk: httpx.Client) -> None:
    """[I16] Elements that were not asked for are left out, but for mandatory ones; the documents carry the tag SUBSETTED."""
    paths = (
        "$export?_type=Patient&_elements=id,Patient.meta",
        "$export?_type=Patient,Observation&_elements=Patient.name&_elements=Patient.active",
    )
    bare, named = manifests(bulk, *paths)
    posted = ended(bulk, begun(post(bulk, "$export", ("_type", "Patient"), ("_elements", "id,Patient.meta"))))
    for told in (bare, posted):
        for each in documents(bulk, told):
            assert {"resourceType", "id", "meta"} <= set(each) <= {"resourceType", "id", "meta", "active", "link"}  # modifiers stay
            assert each["meta"]["versionId"]
            assert [tag["code"] for tag in each["meta"]["tag"]] == ["SUBSETTED"]
            assert each["meta"]["tag"][0]["system"] == "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
    by_type: dict[str, list[dict[str, Any]]] = {}
    for each in documents(bulk, named):
        by_type.setdefault(each["resourceType"], []).append(each)
    assert all(set(each) <= {"resourceType", "id", "meta", "name", "active", "link"} for each in by_type["Patient"])
    assert all("code" in each and "tag" not in each["meta"] for each in by_type["Observation"])


def test_since_until_and_what_was_deleted(bulk: httpx.Client) -> None:
    """[I11, I36, I38] Only what was changed in between; what was deleted in that time is listed apart, with the types and patients
    that were asked for, and never with what was made anew."""
    for id in ("short", "again"):
        bulk.put(f"Patient/{id}", json=patient(id)).raise_for_status()
    bulk.put(
        "Condition/gone", json={"resourceType": "Condition", "id": "gone", "subject": {"reference": "Patient/p1"}}
    ).raise_for_status()
    first = manifest(bulk, "$export?_type=Patient")
    assert first["deleted"] == []
    time.sleep(0.01)
    for name in ("Patient/short", "Patient/again", "Condition/gone"):
        bulk.delete(name).raise_for_status()
    bulk.put("Patient/again", json=patient("again")).raise_for_status()
    time.sleep(0.002)  # what is stored tells milliseconds
    middle = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    time.sleep(0.002)
    bulk.put("Patient/late", json=patient("late")).raise_for_status()
    since = f"_since={first['transactionTime']}"
    paths = (f"$export?{since}&_type=Patient", f"$export?{since}&_type=Patient&_until={middle}", f"Group/g/$export?{since}")
    changed, until, group = manifests(bulk, *paths)
    assert names(documents(bulk, changed)) == ["Patient/again", "Patient/late"]
    assert names(documents(bulk, until)) == ["Patient/again"]
    assert _deleted(bulk, changed) == _deleted(bulk, until) == ["Patient/short"]
    assert documents(bulk, group) == [] and _deleted(bulk, group) == ["Condition/gone"]
    for id in ("again", "late"):
        bulk.delete(f"Patient/{id}").raise_for_status()


def _deleted(client: httpx.Client, told: dict[str, Any]) -> list[str]:
    found = []
    for file in told["deleted"]:
        assert file["type"] == "Bundle"
        for bundle in lines(client, file):
            assert bundle["type"] == "transaction"
            assert {entry["request"]["method"] for entry in bundle["entry"]} == {"DELETE"}
            found += [entry["request"]["url"] for entry in bundle["entry"]]
    return found


def test_output_by_patient(bulk: httpx.Client) -> None:
    """[I38] Each record in one piece behind its header, the patient first; what lies in several records comes in each."""
    told = manifest(bulk, "Group/g/$export?organizeOutputBy=Patient&_type=Patient,Observation,Appointment")
    assert told["outputOrganizedBy"] == "Patient"
    [file] = told["output"]
    assert "type" not in file
    found = [json.loads(line) for line in bulk.get(file["url"]).text.splitlines()]
    assert len(found) == file["count"]
    blocks: dict[str, list[str]] = {}
    for each in found:
        if each["resourceType"] == "Parameters":
            [header] = each["parameter"]
            block = blocks[header["valueReference"]["reference"]] = []
            assert header["name"] == "header"
        else:
            block.append(f"{each['resourceType']}/{each['id']}")
    assert blocks == {
        "Patient/p1": ["Patient/p1", "Appointment/both", "Observation/o1"],
        "Patient/p2": ["Patient/p2", "Appointment/both", "Observation/o2"],
    }


def test_groups_are_in_records_where_they_are_asked_for(bulk: httpx.Client) -> None:
    """One of many members would come as often as it has members, and tell each patient's record of all others."""

    def groups(types: str) -> int:
        told = manifest(bulk, f"Group/g/$export?organizeOutputBy=Patient{types}")
        lines = [json.loads(line) for file in told["output"] for line in bulk.get(file["url"]).text.splitlines()]
        return sum(each["resourceType"] == "Group" and each["id"] == "g" for each in lines)

    assert (groups(""), groups("&_type=Patient,Group")) == (0, 2)


def test_records_are_written_as_they_are_read(bulk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a record is, a page of it is in memory; it comes in one file all the same, the same to the byte."""
    ask = "Group/g/$export?organizeOutputBy=Patient&_type=Patient,Observation,Appointment"
    [whole] = [bulk.get(file["url"]).content for file in manifest(bulk, ask)["output"]]
    monkeypatch.setattr(snapshot, "_FIRST", 1)
    monkeypatch.setattr(snapshot, "_MOST", 1)
    monkeypatch.setattr(output, "MOST", 1)
    files = [bulk.get(file["url"]).content for file in manifest(bulk, ask)["output"]]
    assert b"".join(files) == whole
    assert [file.startswith(b'{"resourceType":"Parameters"') and file.count(b'"header"') for file in files] == [1, 1]


def test_attachments(bulk: httpx.Client) -> None:
    """[I27] An attachment has its data, or an absolute address that can be read."""
    [document] = documents(bulk, manifest(bulk, "$export?_type=DocumentReference"))
    [linked, inside] = [content["attachment"] for content in document["content"]]
    assert inside["data"] == "aGVsbG8="
    assert linked["url"] == f"{bulk.base_url}Binary/scan" and bulk.get(linked["url"]).status_code == 200


def test_a_manifest_in_parts(bulk: httpx.Client) -> None:
    """[I38] Pages of the manifest follow each other by links, and together name every file once."""
    url = begin(bulk, "$export?allowPartialManifests=true")
    told = ended(bulk, url)
    urls = [file["url"] for file in told["output"]]
    again = bulk.get(url).json()
    assert again == told
    whole = [f["url"].rpartition("/")[2] for f in manifest(bulk, "$export")["output"]]
    while "link" in told:
        [link] = told["link"]
        assert link["relation"] == "next"
        following = bulk.get(link["url"]).json()
        assert {**following, "output": [], "link": []} == {**told, "output": [], "link": []}
        told = following
        urls += [file["url"] for file in told["output"]]
    found = [each.rpartition("/")[2] for each in urls]
    assert len(set(found)) == len(found) and {n.partition(".")[0] for n in found} == {n.partition(".")[0] for n in whole}
    assert bulk.get(f"{url}?page=1000").status_code == 404
