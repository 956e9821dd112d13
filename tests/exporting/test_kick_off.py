"""How an export is asked for: who may, with which headers, and what is refused."""

import httpx
import pytest
from exporting.asking import KICK_OFF, begin, begun, documents, exported, manifest, names, notes, post, refused
from oauth.world import USERS, OAuth

LEVELS = ("$export", "Patient/$export", "Group/g/$export")


@pytest.mark.parametrize("path", LEVELS)
def test_nobody_exports_without_a_token(oauth: OAuth, path: str) -> None:
    """[I2, I3, I4] 401 with an OperationOutcome, by GET and POST, without a token and with one that is none."""
    url = f"/fhir/{path}"
    for headers in (KICK_OFF, KICK_OFF | {"Authorization": "Bearer invalidToken"}):
        assert "token" in refused(oauth.http.get(url, headers=headers), 401)
        assert oauth.http.post(url, json={"resourceType": "Parameters"}, headers=headers).status_code == 401


@pytest.mark.parametrize("path", LEVELS)
def test_a_service_begins_an_export(service: httpx.Client, path: str) -> None:
    """[I5, I6, I8, I28] 202 and an absolute address, by GET and by POST of Parameters as application/json; DELETE calls it off."""
    answers = [service.get(path, headers=KICK_OFF), post(service, path, ("_type", "Patient"), ("_since", "2020-01-01T00:00:00Z"))]
    for url in [*map(begun, answers), begin(service, path, lenient=True)]:
        assert url.startswith(f"{service.base_url}$job/")
        assert service.delete(url).status_code == 202


@pytest.mark.parametrize("path", LEVELS)
def test_headers_that_are_needed(service: httpx.Client, path: str) -> None:
    """[I7] Without Accept, or without Prefer: respond-async, it is refused, by GET and by POST."""
    for method, body in (("GET", None), ("POST", {"resourceType": "Parameters"})):
        request = service.build_request(method, path, json=body, headers={"Prefer": "respond-async"})
        del request.headers["accept"]
        assert "Accept" in refused(service.send(request))
        assert "Prefer" in refused(service.request(method, path, json=body, headers={"Accept": "application/fhir+json"}))
        assert "Accept" in refused(service.request(method, path, json=body, headers=KICK_OFF | {"Accept": ""}), 406)


@pytest.mark.parametrize("path", LEVELS)
def test_a_look_begins_nothing(service: httpx.Client, path: str) -> None:
    """HEAD is safe: 405, which names the methods that begin an export."""
    answer = service.head(path, headers=KICK_OFF)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert "content-location" not in answer.headers


@pytest.mark.parametrize("format", ["application/fhir+ndjson", "application/ndjson", "ndjson", "application/fhir%2Bndjson"])
def test_formats(bulk: httpx.Client, format: str) -> None:
    """[I9] The names that NDJSON has, with a plus sign escaped or not."""
    urls = [begin(bulk, f"Patient/$export?_outputFormat={format}")]
    urls.append(begun(post(bulk, "Patient/$export", ("_outputFormat", format.replace("%2B", "+")))))
    assert [bulk.delete(url).status_code for url in urls] == [202, 202]


WRONG = (
    ("_outputFormat=application/xml", "_outputFormat=application/xml is not offered"),
    ("_outputFormat=text/html", "not offered"),
    ("_outputFormat=x-custom", "not offered"),
    ("_outputFormat=ndjson&_outputFormat=ndjson", "more than once"),
    ("_since=0000-60-01T30:70:80%2B05:00", "moment that does not exist"),
    ("_since=yesterday", "must be a date or an instant"),
    ("_since=2057-01-01T00:00:00Z", "in the future"),
    ("_since=2020-01-01&_since=2021-01-01", "more than once"),
    ("_since=2021-01-01&_until=2020-01-01", "not later than _since"),
    ("_until=never", "must be a date or an instant"),
    ("_type=MissingType", "MissingType, which is not a resource type"),
    ("_type=Patient&_type=patient", "patient, which is not a resource type"),
    ("_typeFilter=Patient", "is no search of a resource type"),
    ("_typeFilter=Missing%3Fa%3Db", "is no search of a resource type"),
    ("_typeFilter=Patient%3Fstatus%3Dactive", "no search parameter 'status'"),
    ("_typeFilter=Patient%3Fbirthdate%3Dsoon", "birthdate"),
    ("_typeFilter=Patient%3F_sort%3Dname", "shapes an answer"),
    ("_typeFilter=Patient%3F_include%3DPatient:link", "shapes an answer"),
    ("_typeFilter=Patient%3F", "no condition"),
    ("_type=Patient&_typeFilter=Observation%3Fcode%3Da", "which this export does not have"),
    ("_elements=Patient.nothing", "no element at the top"),
    ("_elements=Patient.name.family", "no element at the top"),
    ("organizeOutputBy=Practitioner", "organizeOutputBy=Practitioner is not offered"),
    ("organizeOutputBy=Patient&_outputFormat=application/vnd.apache.parquet", "only NDJSON can hold"),
    ("allowPartialManifests=perhaps", "either true or false"),
    ("_count=10", "has no parameter _count"),
    *(
        (f"{name}={value}", f"{name} has no value")
        for name in ("_type", "_elements", "includeAssociatedData")
        for value in ("", ",")
    ),
    *(
        (f"{name}=", name)
        for name in ("_typeFilter", "_since", "_outputFormat", "organizeOutputBy", "allowPartialManifests", "_deidentify")
    ),
    ("_type=Patient&_elements=Observation.code", "_elements is about Observation, which this export does not have"),
    ("_type=Organization&organizeOutputBy=Patient", "nothing comes of Organization, which lies in no patient's record"),
    ("_since=2020-02-30T00:00:00Z", "moment that does not exist"),
    ("_since=2020-01-01T00:00:00Z&_until=2020-01-01T00:00:00Z", "nothing lies between them"),
)


@pytest.mark.parametrize(("query", "told"), WRONG)
def test_what_cannot_be_understood_is_refused(bulk: httpx.Client, query: str, told: str) -> None:
    """[I10, I12, I13] A sentence that says which parameter is wrong, and an issue that names it; there is no job."""
    answer = bulk.get(f"$export?{query}", headers=KICK_OFF)
    assert told in refused(answer, 400)
    assert answer.json()["issue"][0]["expression"]
    assert "content-location" not in answer.headers


@pytest.mark.parametrize("value", [{"valueBoolean": []}, {"valueCoding": {"code": "a"}}, {}])
def test_parameters_that_are_none(bulk: httpx.Client, value: dict[str, object]) -> None:
    """A body whose values are not simple is refused, as is one that is no Parameters resource."""
    body = {"resourceType": "Parameters", "parameter": [{"name": "_type", **value}]}
    refused(bulk.post("$export", json=body, headers=KICK_OFF), 400)
    refused(bulk.post("$export", json={"resourceType": "Patient"}, headers=KICK_OFF), 400)
    refused(bulk.post("$export", content=b"{", headers=KICK_OFF | {"Content-Type": "application/json"}), 400)


def test_what_lenient_handling_leaves_out(bulk: httpx.Client) -> None:
    """[I8, I14, I31] Parameters, filters and values that are not known are ignored, each told of in a file of OperationOutcomes."""
    query = (
        "_type=Patient,MissingType&_typeFilter=Patient%3Fstatus%3Dactive%26active%3Dtrue&_elements=id,nothing&unknown=1"
        "&includeAssociatedData=_custom&organizeOutputBy=Practitioner"
        "&_typeFilter=Patient%3Fbirthdate%3Dsoon&_typeFilter=Patient%3Fname:nope%3D1&_typeFilter=Patient%3F_filter%3D(("
    )
    told = manifest(bulk, f"$export?{query}", lenient=True)
    assert names(documents(bulk, told)) == ["Patient/p1"]
    said = notes(bulk, told)
    for part in ("MissingType", "status", "nothing", "unknown", "_custom", "Practitioner", "birthdate", "nope", "_filter"):
        assert any(part in note for note in said), part
    assert len(said) == 9


def test_where_there_is_nothing(bulk: httpx.Client) -> None:
    """What is not offered is refused with what is, and patients who are not there are told of in a whole sentence."""
    assert "not offered at 'Group/$export', only for Patient" in refused(bulk.get("Group/$export", headers=KICK_OFF), 404)
    operations = refused(bulk.get("$nothing", headers=KICK_OFF), 404)
    assert "$job" in operations and "[" not in operations.partition("this server has")[2]
    assert "1 Patient that is not here" in refused(bulk.get("Patient/$export?patient=Patient/none", headers=KICK_OFF), 400)
    [file] = manifest(bulk, "$export?_type=Patient")["output"]
    assert bulk.get(file["url"], headers={"Range": "bytes=0-1"}).status_code == 200
    assert bulk.head(file["url"]).headers["accept-ranges"] == "none"


def test_types_that_no_scope_reaches(oauth: OAuth) -> None:
    """[I35] A token for two types exports these; another type is 403 where it is named, or left out and told of."""
    token = oauth.service_token("narrow", "system/Patient.rs system/Observation.read").json()["access_token"]
    with httpx.Client(base_url=f"{oauth.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        assert "Condition" in refused(client.get("$export?_type=Condition", headers=KICK_OFF), 403)
        assert "Group" in refused(client.get("Group/g/$export", headers=KICK_OFF), 403)
        assert {name.partition("/")[0] for name in exported(client, "$export")} == {"Patient", "Observation"}
        told = manifest(client, "$export?_type=Condition,Patient", lenient=True)
        assert {each["resourceType"] for each in documents(client, told)} == {"Patient"}
        assert "no scope" in notes(client, told)[0]


def test_no_glass_is_broken_for_many(oauth: OAuth) -> None:
    """In an emergency there is no export, nor rows of views; other purposes are taken."""
    token, _ = oauth.granted(USERS[1], "server", "user/*.rs")
    headers = {"Authorization": f"Bearer {token}"} | KICK_OFF
    with httpx.Client(base_url=f"{oauth.root}/fhir/", timeout=30, headers=headers) as client:
        for purpose in ("BTG", "ETREAT"):
            for path in ("$export", "ViewDefinition/$run?viewReference=ViewDefinition/none"):
                assert "one patient in an emergency" in refused(client.get(path, headers={"Purpose-Of-Use": purpose}), 403)
        assert client.get("$export?_type=Flag", headers={"Purpose-Of-Use": "TREAT"}).status_code == 202
