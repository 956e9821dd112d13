"""De-identified exports: nothing that the rules take away stands in any byte that is published; who is bound to them gets nothing else."""

import hashlib
import hmac
import io
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import serving
from deidentifying.documents import population, texts, values
from deidentifying.test_leaks import secrets_of
from exporting.asking import (
    KICK_OFF,
    LENIENT,
    begin,
    begun,
    documents,
    ended,
    finished,
    lines,
    manifest,
    manifests,
    notes,
    post,
    refused,
)
from exporting.people import POPULATION, of, patient
from oauth.world import OAuth, key, public
from pyarrow import parquet

from resources.documents import encode
from smart_auth.clients import Client

SAFE = "_deidentify=safe-harbor"
MANY = (
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
    "Practitioner",
    "Organization",
    "Location",
    "Provenance",
    "DocumentReference",
)
ODD = (
    of(
        "Patient", "photographed", name=[{"family": "Unmistakable"}], photo=[{"contentType": "image/png", "data": "UE5HIHBob3Rv"}],
        telecom=[{"system": "phone", "value": "+1-617-555-0199"}], birthDate="1931-05-17",
        address=[{"line": ["17 Hidden Lane"], "city": "Nowhereton", "state": "MA", "postalCode": "02139", "country": "US"}],
        text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Unmistakable, 17 Hidden Lane</div>'},
    ),
    of("Provenance", "origin", target=[{"reference": "Patient/photographed"}], recorded="2025-11-17T10:00:00Z",
       agent=[{"who": {"display": "Nurse Unmistakable"}}]),
    of("DocumentReference", "letter", status="current", subject={"reference": "Patient/photographed"}, description="Letter to Unmistakable",
       content=[{"attachment": {"contentType": "text/plain", "url": "Binary/letter", "title": "Unmistakable.txt"}}]),
    of("Binary", "letter", contentType="text/plain", data="VW5taXN0YWthYmxl"),
    of("Patient", "forgotten-mary", name=[{"family": "Forgotten"}]),
    of("Group", "all-of-us", type="person", actual=True, name="Friends of Unmistakable",
       member=[{"entity": {"reference": "Patient/photographed"}}, {"entity": {"reference": "Group/lost"}}]),
)  # fmt: skip


@lru_cache
def known() -> list[dict[str, Any]]:
    """Documents of real people's kind: names, addresses, phones, identifiers, narratives, photographs."""
    found = [each.document for each in population() if each.type in MANY]
    few = [each for number, each in enumerate(found) if each["resourceType"] != "Observation" or number % 8 == 0]
    return [*few, *ODD]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with them, from which one patient was deleted."""
    with serving(tmp_path_factory.mktemp("real"), (), rate_limit_polls="off", jobs_at_once=100) as client:
        entries = [
            {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}} for each in known()
        ]
        for start in range(0, len(entries), 1_000):
            bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries[start : start + 1_000]}
            sent = client.post("", content=encode(bundle), headers={"Content-Type": "application/fhir+json"}, timeout=120)
            answered = sent.json()["entry"]
            assert {each["response"]["status"] for each in answered} == {"201 Created"}
        client.delete("Patient/forgotten-mary").raise_for_status()
        yield client


def published(client: httpx.Client, url: str) -> str:
    """Everything that is given out of a job: its manifest with all headers, names and contents of files; columns of Parquet as text."""
    answer = finished(client, url)
    told = answer.json()
    pieces = [answer.text.replace(told["transactionTime"], ""), str({**answer.headers, "date": "", "expires": ""})]
    for item in (*told["output"], *told["deleted"], *told["error"]):
        file = client.get(item["url"])
        assert file.status_code == 200
        if item["url"].endswith(".parquet"):
            table = parquet.read_table(io.BytesIO(file.content))
            pieces += [str(table.schema), json.dumps(table.to_pylist(), ensure_ascii=False)]
            assert b"Unmistakable" not in file.content
        else:
            pieces.append(file.text)
    return "\n".join(pieces)


ASKED = (
    f"$export?{SAFE}&_since=2020-01-01T00:00:00Z",
    f"$export?{SAFE}&_outputFormat=application/vnd.apache.parquet",
    f"Patient/$export?{SAFE}&organizeOutputBy=Patient",
    f"Patient/$export?{SAFE}&includeAssociatedData=LatestProvenanceResources&_elements=id,name,identifier,subject,text,birthDate",
    f"Group/all-of-us/$export?{SAFE}&_typeFilter=Patient%3Fname%3DUnmistakable%26nothing%3DUnmistakable&_type=Patient,Missing",
)


def test_nothing_of_the_population_leaks(real: httpx.Client) -> None:
    """No name, number, address, id, date, text or picture of any document stands in a file, a file's name, the manifest or the errors of an
    export by any way, nor the ids of what was deleted; and what comes out is many documents."""
    urls = [begin(real, path, lenient=True) for path in ASKED]
    found = [published(real, url) for url in urls]
    assert all(len(each) > 200_000 for each in found[:3])
    whole = "\n".join(found)
    words = {*re.findall(r"[\w.-]+", whole), *re.findall(r"[^\"\\\n]+", whole)}
    told = set[str]().union(*(secrets_of(each) for each in known()))
    stays = {value.value for each in known() for value in values(each) if value.type == "code" or value.path.endswith("system")}
    assert len(told) > 3_000
    stays.add("all-of-us")  # the Group that the caller names
    assert {text for text in told - stays if len(text) > 4 and text in words} == set()
    people = [each for each in known() if each["resourceType"] in ("Patient", "Practitioner", "Organization")]
    named = {
        text
        for each in people
        for member in ("name", "telecom", "address", "photo", "identifier")
        for text in texts(each.get(member, []))
        if len(text) > 5 and text in told  # shorter ones, zip codes, as words above
    }
    assert len(named) > 300
    plain = re.sub(r"\b[0-9a-f]{32}\b", "", whole)  # pseudonyms may have the nine digits of a zip code among theirs
    assert {text for text in named if text in plain} == set()
    assert set(re.findall(r"(?:19|20)\d\d-\d\d-\d\d", whole)) == {"2020-01-01"}  # `_since`, in the manifest's `request`
    for text in ("Unmistakable", "forgotten", "photographed", "UE5HIHBob3Rv", "VW5taXN0YWthYmxl", "all-of-us/"):
        assert text not in re.sub(r"Group/all-of-us/\$export|/%24export", "", whole), text
    assert {each["id"] for each in known()} & words == {"all-of-us"}
    assert re.search(r"\b02139\b", whole) is None  # pseudonyms may have these digits among theirs


def test_pseudonyms_join(real: httpx.Client) -> None:
    """References lead to documents of the same export; the same patient has the same pseudonym in two exports, deletions name theirs, and
    no plain digest of an id is one."""
    path = f"$export?{SAFE}&_type=Patient,Observation,Condition&_since=2020-01-01T00:00:00Z"
    first, second = manifests(real, path, path)
    found = documents(real, first)
    ids = {each["id"] for each in found if each["resourceType"] == "Patient"}
    assert {each["id"] for each in documents(real, second) if each["resourceType"] == "Patient"} == ids
    subjects = {each["subject"]["reference"] for each in found if each["resourceType"] != "Patient"}
    assert len(ids) > 5 and subjects <= {f"Patient/{id}" for id in ids}
    gone = [entry["request"]["url"] for item in first["deleted"] for line in lines(real, item) for entry in line["entry"]]
    assert len(gone) == 1 and re.fullmatch(r"Patient/[0-9a-f]{32}", gone[0])
    plain = [each["id"] for each in known() if each["resourceType"] == "Patient"]
    keys = (b"", b"ids", b"Patient", b"anonymous", b"ids\0anonymous")
    for id in plain:
        for text in (id, f"Patient/{id}"):
            digests = [hashlib.new(name, text.encode()).hexdigest()[:32] for name in ("sha256", "sha1", "md5", "sha512")]
            digests += [hmac.digest(key, text.encode(), "sha256").hex()[:32] for key in keys]
            assert ids.isdisjoint(digests)


def test_what_comes_out_says_so(real: httpx.Client) -> None:
    """The manifest and a label of each document say what was done; also where elements were chosen, and asked for by POST."""
    told = ended(
        real, begun(post(real, "Patient/$export", ("_deidentify", "shifted-dates"), ("_type", "Patient"), ("_elements", "gender")))
    )
    assert told["extension"] == {"deidentified": "shifted-dates"}
    for each in documents(real, told):
        assert [label["code"] for label in each["meta"]["security"]] == ["PSEUDED"]
        assert each.keys() <= {"resourceType", "id", "meta", "gender", "link", "active"}
    shifted = documents(real, manifest(real, "$export?_deidentify=shifted-dates&_type=Patient"))
    true = {each["birthDate"] for each in known() if len(each.get("birthDate", "")) == 10}
    assert len(true) > 10 and any(len(each.get("birthDate", "")) == 10 for each in shifted)
    assert len(true & {each.get("birthDate") for each in shifted}) <= 2  # a shifted one may be somebody else's true one


def test_filters_see_what_comes_out(real: httpx.Client) -> None:
    """A filter by what is taken away matches nobody; one by a code, or by a pseudonym, does what it says."""
    everybody = documents(real, manifest(real, f"$export?{SAFE}&_type=Patient"))
    id, women = everybody[0]["id"], [each["id"] for each in everybody if each.get("gender") == "female"]

    conditions = (
        "name%3DUnmistakable", "birthdate%3D1931-05-17", "_id%3Dphotographed", "_lastUpdated%3Dge2020", f"_id%3D{id}", "gender%3Dfemale",
    )  # fmt: skip
    told = manifests(real, *(f"$export?{SAFE}&_type=Patient&_typeFilter=Patient%3F{each}" for each in conditions))
    *nobody, one, several = ([each["id"] for each in documents(real, each)] for each in told)
    assert nobody == [[], [], [], []]
    assert one == [id]
    assert sorted(several) == sorted(women) != []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("_deidentify=anonymous", "is not offered; there is safe-harbor and shifted-dates"),
        (f"{SAFE}&_deidentify=shifted-dates", "more than once"),
        (f"{SAFE}&patient=Patient/photographed", "names people"),
        (f"{SAFE}&_type=Binary", "of which nothing comes out"),
        (f"{SAFE}&_typeFilter=Observation%3Fpatient.name%3DUnmistakable", "looks at other documents"),
        (f"{SAFE}&_typeFilter=Patient%3F_has:Observation:patient:code%3Da", "looks at other documents"),
    ],
)
def test_what_does_not_go_with_it(real: httpx.Client, query: str, told: str) -> None:
    """What would find out who somebody is, or cannot be had, is refused, each with its sentence."""
    assert told in refused(real.get(f"Patient/$export?{query}", headers=KICK_OFF), 400)


def test_people_cannot_be_named_leniently(real: httpx.Client) -> None:
    """Whoever names patients does not get everybody instead, however lenient the caller is; what does not come out is told of."""
    refused(real.get(f"Patient/$export?{SAFE}&patient=Patient/photographed", headers=LENIENT), 400)
    told = manifest(real, f"$export?{SAFE}&_type=Binary,Organization", lenient=True)
    assert {item["type"] for item in told["output"]} == {"Organization"}
    assert ["Binary, of which nothing comes out" in note for note in notes(real, told)] == [True]


def test_all_exports_of_a_server(tmp_path: Path) -> None:
    """With FHIR_EXPORT_DEIDENTIFY=always every export is de-identified, whether it asks for that or not; reading goes on as ever."""
    with serving(tmp_path, [patient("someone")], rate_limit_polls="off", export_deidentify="always") as client:
        told = manifest(client)
        assert told["extension"] == {"deidentified": "safe-harbor"}
        assert "someone" not in published(client, begin(client)).lower()
        assert client.get("Patient/someone").status_code == 200
        views = client.post("$viewdefinition-export", json={"resourceType": "Parameters"}, headers=KICK_OFF)
        assert "views are of documents as they are" in refused(views, 403)
        assert "not allowed here" in refused(client.get("$export?_deidentify=shifted-dates", headers=KICK_OFF), 403)
        assert "would tell when" in refused(client.get("$export?_since=2020-01-01T00:00:00Z", headers=KICK_OFF), 403)


@pytest.fixture(scope="module")
def analysts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    """A server at which the services `backend`, by a setting, and `analyst`, by its registration, get de-identified exports alone."""
    server = OAuth(
        tmp_path_factory.mktemp("analysts"), jobs_at_once=100, rate_limit_polls="off", export_deidentified_clients="other backend"
    )
    for document in POPULATION:
        name = f"/fhir/{document['resourceType']}/{document['id']}"
        server.http.put(name, json=document, headers=server.bearer("everything")).raise_for_status()
    keys = public(key("analyst"))
    server.stored(Client("analyst", "Analysts", "backend", "system/*.rs", "private_key_jwt", jwks=keys, deidentified=True))
    yield server
    server.close()


def of_service(server: OAuth, client: str) -> httpx.Client:
    token = server.service_token(client, "system/*.rs").json()["access_token"]
    return httpx.Client(base_url=f"{server.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("client", ["backend", "analyst"])
def test_who_is_bound_gets_nothing_else(analysts: OAuth, client: str) -> None:
    """Its exports are de-identified without its asking; nothing can be read, searched, run or taken out of a Bundle, though its scopes say
    `system/*.rs`; metadata and its jobs can. Others go on as before, with other pseudonyms where they ask for that."""
    with of_service(analysts, client) as bound, of_service(analysts, "ehr") as free:
        told = manifest(bound)
        assert told["extension"] == {"deidentified": "safe-harbor"}
        mine = {each["id"] for each in documents(bound, told) if each["resourceType"] == "Patient"}
        assert len(mine) == 6 and all(re.fullmatch("[0-9a-f]{32}", id) for id in mine)
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient/p1"}}]}
        for answer in (
            bound.get("Patient/p1"), bound.get("Patient"), bound.get("Patient/p1/_history"), bound.get("Patient/p1/$everything"),
            bound.post("", json=bundle), bound.post("", json=bundle | {"type": "transaction"}), bound.get("_history"),
            bound.post("Patient/_search", data={"name": "P1"}), bound.get("Observation/$lastn?max=1"), bound.get("ViewDefinition"),
            bound.post("$viewdefinition-run", json={"resourceType": "Parameters"}), bound.get("Group/g"),
        ):  # fmt: skip
            assert "de-identified exports, and nothing else" in refused(answer, 403)
        assert bound.get("metadata").status_code == 200
        assert "not allowed here" in refused(bound.get("$export?_deidentify=shifted-dates", headers=KICK_OFF), 403)
        for name in ("_since", "_until"):
            assert "would tell when" in refused(bound.get(f"$export?{name}=2020-01-01T00:00:00Z", headers=LENIENT), 403)
        assert free.get("Patient/p1").status_code == 200
        whole = documents(free, manifest(free, "$export?_type=Patient"))
        assert {"p1", "p2"} <= {each["id"] for each in whole}
        theirs = {each["id"] for each in documents(free, manifest(free, f"$export?{SAFE}&_type=Patient"))}
        assert len(theirs) == len(mine) and theirs.isdisjoint(mine)


def test_what_was_begun_before_counts_no_more(analysts: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of an export as it is are refused once its owner is bound, and a job under way fails."""
    settings = type(analysts.settings)
    with of_service(analysts, "backend") as client:
        with monkeypatch.context() as before:
            before.setattr(settings, "only_deidentified", lambda self, client: False)
            told = manifest(client, "$export?_type=Patient")
            assert client.get(told["output"][0]["url"]).status_code == 200
        assert "by now" in refused(client.get(told["output"][0]["url"]), 403)


def test_records_of_access_name_the_patients(analysts: OAuth) -> None:
    """The record of accesses tells by true ids who was exported: it is the server's own."""
    with of_service(analysts, "backend") as bound:
        manifest(bound, "Group/g/$export?_type=Patient,Observation&organizeOutputBy=Patient")
    for id, exports in (("p1", 1), ("p2", 1), ("p3", 0)):
        answer = analysts.http.get(f"/fhir/Patient/{id}/$access-log?_count=200", headers=analysts.bearer("everything"))
        events = [entry["resource"] for entry in answer.json().get("entry", ())]
        asked = [b64decode(entity["query"]) for event in events for entity in event.get("entity", ()) if "query" in entity]
        assert sum(b"organizeOutputBy" in query for query in asked) == exports
