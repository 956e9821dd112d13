"""Whose records are exported: everybody's, those of all patients, those of a Group."""

import httpx
import pytest
from exporting.asking import (
    KICK_OFF,
    LENIENT,
    begin,
    begun,
    documents,
    ended,
    exported,
    finished,
    manifest,
    manifests,
    names,
    notes,
    post,
    refused,
)
from exporting.people import POPULATION, group

from fhir_server.exporting import candidates, cohort
from fhir_server.jobs import runner

P1 = [
    "Appointment/both",
    "Condition/c1",
    "DocumentReference/r1",
    "Observation/o1",
    "Patient/p1",
    "Practitioner/d",
    "Provenance/of-o1",
    "Provenance/of-o1-old",
]
P2 = ["Appointment/both", "Condition/c2", "Observation/o2", "Patient/p2", "Practitioner/d", "Provenance/of-p2"]
P3 = ["Device/pump", "Observation/o3", "Patient/p3"]
P4 = ["Observation/o4", "Patient/p4", "Practitioner/d", "Provenance/of-o4"]


def records(*parts: list[str]) -> list[str]:
    """These records together."""
    return sorted({name for part in parts for name in part})


def without_groups(found: list[str]) -> list[str]:
    return [name for name in found if not name.startswith("Group/")]


def test_the_levels_are_claimed(bulk: httpx.Client) -> None:
    """[I1, A11] The CapabilityStatement fulfils that of Bulk Data, and lists the operation at each level by both names that clients look
    for."""
    told = bulk.get("metadata").json()
    assert told["instantiates"] == ["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"]
    [rest] = told["rest"]
    at = {each["type"]: {o["name"]: o["definition"] for o in each.get("operation", ())} for each in rest["resource"]}
    definition = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
    assert {o["name"]: o["definition"] for o in rest["operation"]}["export"] == definition + "export"
    assert at["Patient"]["export"] == at["Patient"]["patient-export"] == definition + "patient-export"
    assert at["Group"]["export"] == at["Group"]["group-export"] == definition + "group-export"
    assert "export" not in at["Observation"]


def test_what_is_exported_at_each_level(bulk: httpx.Client) -> None:
    """[I25] Below a patient what lies in the patients' compartments, with the Provenances of that and what is referred to; at the level of
    the system all."""
    paths = ("Patient/$export", "Group/g/$export", "Group/nested/$export", "Group/loop/$export", "$export")
    patients, members, nested, loop, system = (manifest for manifest in manifests(bulk, *paths))
    found = without_groups(names(documents(bulk, patients)))
    assert found == records(P1, P2, P3, P4)
    assert without_groups(names(documents(bulk, members))) == records(P1, P2)
    assert without_groups(names(documents(bulk, nested))) == records(P1, P2, P3)
    assert without_groups(names(documents(bulk, loop))) == records(P1, P2, P3)
    assert notes(bulk, loop) == ["Group/gone, a member of Group/loop, is not there"]
    every = {f"{each['resourceType']}/{each['id']}" for each in POPULATION}
    assert every <= set(names(documents(bulk, system)))


def test_members_in_small_pieces(bulk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file of the members is cut when it is written and read."""
    monkeypatch.setattr(cohort, "_WRITTEN", 2)
    monkeypatch.setattr(cohort, "_PIECE", 3)
    for few in (0, candidates.FEW):
        monkeypatch.setattr(candidates, "FEW", few)
        assert without_groups(exported(bulk, "Group/nested/$export")) == records(P1, P2, P3)


def test_member_filters(bulk: httpx.Client) -> None:
    """[I38] A Group may filter its members by searches about them or what is in their compartments; without members, all patients."""
    paths = ("Group/hemoglobin/$export?_type=Patient", "Group/everybody-with/$export?_type=Patient")
    filtered, everybody = (names(documents(bulk, each)) for each in manifests(bulk, *paths))
    assert filtered == ["Patient/p2"]
    assert everybody == ["Patient/p2", "Patient/p4"]


@pytest.mark.parametrize(
    ("filter", "told"),
    [
        ("Patient?nonsense=1", "no search parameter 'nonsense'"),
        ("Patient?birthdate=abc", "'abc' is no date"),
        ("Practitioner?name=x", "about Practitioner, which lies in no patient's compartment"),
        ("Bogus?x=1", "is no search"),
        ("Patient?_count=3", "filters nothing, or shapes an answer"),
    ],
)
def test_member_filters_that_cannot_be_asked(bulk: httpx.Client, filter: str, told: str) -> None:
    """The job fails with 400, which names the Group and what is wrong with its filter, and does not recommend to be lenient: that does not
    help."""
    bulk.put("Group/wrong", json=group("wrong", filters=(filter,))).raise_for_status()
    for prefer in ("respond-async", "respond-async, handling=lenient"):
        answer = bulk.get("Group/wrong/$export", headers={**KICK_OFF, "Prefer": prefer})
        text = refused(finished(bulk, begun(answer)), 400)
        assert text.startswith("Group/wrong has a member-filter")
        assert told in text
        assert "lenient" not in text
    bulk.delete("Group/wrong").raise_for_status()


def test_groups_that_are_not_there(bulk: httpx.Client) -> None:
    """404, 410 once it was deleted, 400 for one whose members nothing names."""
    bulk.put("Group/short", json={"resourceType": "Group", "id": "short", "type": "person", "actual": True}).raise_for_status()
    bulk.delete("Group/short").raise_for_status()
    assert "does not exist" in refused(bulk.get("Group/none/$export", headers=KICK_OFF), 404)
    assert "deleted" in refused(bulk.get("Group/short/$export", headers=KICK_OFF), 410)
    assert "characteristics" in refused(bulk.get("Group/characteristics/$export", headers=KICK_OFF), 400)
    refused(bulk.get("Observation/$export", headers=KICK_OFF), 404)
    refused(bulk.get("Patient/p1/$export", headers=KICK_OFF), 404)


def test_a_group_that_goes_meanwhile(bulk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a Group is deleted before its export is planned, the job fails with that reason, and has no files."""

    async def never(self: runner.Runner) -> bool:
        return False

    bulk.put("Group/brief", json=group("brief", "Patient/p1")).raise_for_status()
    with monkeypatch.context() as resting:
        resting.setattr(runner.Runner, "_round", never)
        url = begin(bulk, "Group/brief/$export")
        bulk.delete("Group/brief").raise_for_status()
    answer = finished(bulk, url)
    assert refused(answer, 410) == "Group/brief was deleted"
    refused(bulk.get(f"{url}/Patient.000001.000.ndjson"), 404)


@pytest.mark.parametrize("path", ["Patient/$export", "Group/g/$export"])
def test_patients_may_be_named(bulk: httpx.Client, path: str) -> None:
    """[I17] Of the records only those named; what lies in another one's record too stays away."""
    alone = post(bulk, path, ("patient", {"reference": "Patient/p1"}), ("_type", "Patient"))
    whole = post(bulk, path, ("patient", {"reference": "Patient/p1"}))
    both = post(bulk, path, ("patient", {"reference": "Patient/p1"}), ("patient", {"reference": "Patient/p2"}))
    found = [names(documents(bulk, ended(bulk, begun(each)))) for each in (alone, whole, both)]
    assert found[0] == ["Patient/p1"]
    assert found[1] == [name for name in P1 if name != "Appointment/both"]
    assert without_groups(found[2]) == records(P1, P2)


def test_patients_who_are_not_there(bulk: httpx.Client) -> None:
    """[I18, I31] Nobody can be named at the level of the system; who is not here, or not in the Group, is an error, or left out and
    told of."""
    named = ("patient", {"reference": "Patient/p3"})
    assert "patient" in refused(post(bulk, "$export", named), 400)
    assert "patient" in refused(post(bulk, "$export", named, lenient=True), 400)
    assert "not in Group/g: Patient/p3" in refused(post(bulk, "Group/g/$export", named), 400)
    unknown = ("patient", {"reference": "Patient/unknown"})
    assert "not here: Patient/unknown" in refused(post(bulk, "Patient/$export", unknown), 400)
    refused(post(bulk, "Patient/$export", ("patient", {"reference": "Practitioner/d"})), 400)
    assert "patient has no value" in refused(bulk.get("Patient/$export?patient=", headers=LENIENT), 400)
    assert "valueReference with a reference" in refused(post(bulk, "Patient/$export", ("patient", {"display": "P1"})), 400)
    told = ended(bulk, begun(post(bulk, "Patient/$export", unknown, named, lenient=True)))
    assert without_groups(names(documents(bulk, told))) == P3
    assert ["Patient/unknown" in note for note in notes(bulk, told)] == [True]


def test_types_outside_of_the_compartment(bulk: httpx.Client) -> None:
    """[I35] Below a patient they are an error, or left out and told of; repeated parameters are as a list."""
    for types in ("Endpoint", "Organization", "Practitioner,Library"):
        assert "outside" in refused(bulk.get(f"Patient/$export?_type={types}", headers=KICK_OFF), 400)
    told = manifest(bulk, "Patient/$export?_type=Endpoint&_type=Condition,Appointment", lenient=True)
    assert names(documents(bulk, told)) == ["Appointment/both", "Condition/c1", "Condition/c2"]
    assert len(notes(bulk, told)) == 1
    told = manifest(bulk, "Patient/$export?_type=Endpoint,Device")
    assert names(documents(bulk, told)) == ["Device/pump"] and "Endpoint" in notes(bulk, told)[0]
    assert exported(bulk, "Patient/$export?_type=Organization", lenient=True) == []


def test_provenance(bulk: httpx.Client) -> None:
    """[I37, I15] Without includeAssociatedData those of what lies in the records, unless _type leaves them out; with it those of what is
    exported, or of each document the latest."""
    paths = (
        "Patient/$export?_type=Provenance",
        "Group/g/$export?_type=Observation",
        "Group/g/$export?_type=Observation&includeAssociatedData=LatestProvenanceResources",
        "Group/g/$export?_type=Observation&includeAssociatedData=RelevantProvenanceResources",
        "$export?_type=Practitioner&includeAssociatedData=LatestProvenanceResources,RelevantProvenanceResources",
    )
    found = [[name for name in names(documents(bulk, each)) if "Provenance" in name] for each in manifests(bulk, *paths)]
    assert found == [
        ["Provenance/of-o1", "Provenance/of-o1-old", "Provenance/of-o4", "Provenance/of-p2"],
        [],
        ["Provenance/of-o1"],
        ["Provenance/of-o1", "Provenance/of-o1-old"],
        ["Provenance/of-d"],
    ]
    unknown = "$export?includeAssociatedData=_everything"
    refused(bulk.get(unknown, headers=KICK_OFF), 400)
    assert ended(bulk, begin(bulk, unknown, lenient=True))["error"]
