"""Files are imported: each resource once, as it is written there, and what is wrong is told by its line."""

import json
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import Running
from exporting.asking import finished
from importing.giving import Giving, begin, imported, ndjson, patients

from fhir_server.importing import pace


@pytest.fixture(scope="module")
def client(source: Giving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    sources = f"{source.root}/ https://rebound.example.org/"
    server = Running(Path(tmp_path_factory.mktemp("import")), import_sources=sources, max_body=1_000_000, reference_existence="on")
    server.start()
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30) as made:
        yield made
    server.stop()


def problem(response: httpx.Response) -> str:
    """The text of the OperationOutcome that an import failed with."""
    assert response.status_code >= 400 and response.json()["resourceType"] == "OperationOutcome", response.text
    text: str = response.json()["issue"][0]["details"]["text"]
    return text


def test_everything_is_stored_and_counted(client: httpx.Client, source: Giving) -> None:
    """Several inputs, one packed; references may lead to what comes later; a second time nothing is written."""
    observations: list[dict[str, Any]] = [
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": f"Patient/p{number}"},
        }
        for number in range(450)
    ]
    source.files["o.ndjson.gz"], source.files["p.ndjson"] = ndjson(observations, packed=True), ndjson(patients(0, 450))
    inputs = [("Observation", f"{source.root}/o.ndjson.gz"), ("Patient", f"{source.root}/p.ndjson?sig=1")]
    first = imported(client, inputs).json()
    assert [each["count"] for each in first["output"]] == [450, 450] and first["error"] == []
    assert [each["inputUrl"] for each in first["output"]] == [url for _, url in inputs]
    assert client.get("Observation?subject=Patient/p449&_summary=count").json()["total"] == 1
    second = imported(client, inputs).json()
    assert [each["extension"] for each in second["output"]] == [{"written": 0, "unchanged": 450}] * 2
    assert client.get("Patient/p7").json()["meta"]["versionId"] == "1"


def test_what_is_wrong_is_told_by_its_line(client: httpx.Client, source: Giving) -> None:
    """The others are stored; each OperationOutcome names the input and the line."""
    good = ndjson(patients(1000, 3))
    bad = b'{"resourceType":"Patient","id":"w1","birthDate":"yesterday"}\n\n{"resourceType":"Group","id":"w2"}\nnothing\n'
    bad += b'{"resourceType":"Patient"}\n'
    source.files["mixed"] = good + bad + ndjson(patients(1003, 1))
    told = imported(client, [("Patient", f"{source.root}/mixed")]).json()
    assert told["output"][0]["count"] == 4 and told["error"][0]["count"] == 4
    lines = [json.loads(line) for line in client.get(told["error"][0]["url"]).text.splitlines()]
    assert [each["issue"][0]["diagnostics"].rpartition(" ")[2] for each in lines] == ["4", "6", "7", "8"]
    assert client.get("Patient/p1003").status_code == 200 and client.get("Patient/w1").status_code == 404


def test_one_input_that_fails_leaves_the_others(
    client: httpx.Client, source: Giving, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They are read, and their reports kept; that one input could not be had is told among the errors. Nothing is left of drafts."""
    source.files["some"] = ndjson(patients(7000, 2)) + b"nothing\n" + ndjson([{"resourceType": "Patient"}])
    source.files["marked"] = b"\xef\xbb\xbf" + ndjson(patients(7100, 2))
    names = ("some", "missing", "marked")
    response = imported(client, [("Patient", f"{source.root}/{name}?sig=secret") for name in names])
    told = response.json()
    assert [each["count"] for each in told["output"]] == [2, 0, 2]
    assert [each["count"] for each in told["error"]] == [2, 1]
    lines = [client.get(each["url"]).text.splitlines() for each in told["error"]]
    assert len(lines[0]) == 2 and len(lines[1]) == 1 and "answers 404" in lines[1][0] and "secret" not in lines[1][0]
    assert client.get("Patient/p7100").status_code == client.get("Patient/p7001").status_code == 200
    [folder] = tmp_path_factory.getbasetemp().glob(f"import[0-9]*/files/{told['error'][0]['url'].split('/')[-2]}")
    assert sorted(path.name for path in folder.iterdir()) == ["errors.000001.ndjson", "errors.000002.ndjson"]


def test_when_all_inputs_fail(client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import does, with the first reason, and says what was written all the same."""
    monkeypatch.setattr(pace, "PAUSE", 0.02)
    source.files["half"], source.cuts["half"] = ndjson(patients(7200, 900)), 100
    text = problem(imported(client, [("Patient", f"{source.root}/{name}") for name in ("missing", "half")]))
    assert "answers 404" in text and "all 2 inputs" in text and "lines were written" in text


def test_modes(client: httpx.Client, source: Giving) -> None:
    """`create` refuses an id that is there, `upsert` makes a new version where something changes, `keep-history` one of each line."""
    source.files["new"] = ndjson(patients(2000, 2))
    source.files["changed"] = ndjson([*patients(2000, 1), *patients(2001, 2, active=True)])
    inputs = [("Patient", f"{source.root}/changed")]
    assert imported(client, [("Patient", f"{source.root}/new")], mode="create").json()["output"][0]["count"] == 2
    told = imported(client, inputs, mode="create").json()
    assert told["output"][0]["count"] == 1 and told["error"][0]["count"] == 2
    assert imported(client, inputs).json()["output"][0]["extension"] == {"written": 1, "unchanged": 2}
    source.files["versions"] = ndjson([*patients(3000, 1), *patients(3000, 1, active=True), *patients(3000, 1)])
    imported(client, [("Patient", f"{source.root}/versions")], mode="keep-history")
    entries = client.get("Patient/p3000/_history").json()["entry"]
    assert [each["resource"].get("active") for each in entries] == [None, True, None]


def test_what_is_cut_off_goes_on_where_it_was(client: httpx.Client, source: Giving) -> None:
    """The rest is asked for by its range, and nothing is written twice."""
    source.files["cut"], source.cuts["cut"] = ndjson(patients(4000, 900)), 1
    told = imported(client, [("Patient", f"{source.root}/cut")]).json()
    assert told["output"][0]["extension"] == {"written": 900, "unchanged": 0}
    ranges = [asked for name, asked in source.asked if name == "cut"]
    assert ranges[:2] == ["bytes=0-3", ""] and ranges[2].startswith("bytes=") and ranges[2] != "bytes=0-"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing", "answers 404"),
        ("elsewhere", "redirects are not followed"),
        ("page", "not NDJSON"),
        ("endless", "more than 1000000 bytes in line 1"),
    ],
)
def test_inputs_that_cannot_be_read(client: httpx.Client, source: Giving, name: str, text: str) -> None:
    """The import fails with its reason; a signature in the URL is not repeated."""
    source.files["page"] = b"<html>\n<body>\n"
    source.streams["endless"] = chain([b'{"resourceType":"Patient","id":"'], repeat(b"x" * 100_000))
    failure = problem(imported(client, [("Patient", f"{source.root}/{name}?sig=secret")]))
    assert text in failure and name in failure and "secret" not in failure
    assert source.sent < 50_000_000


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.org/x", "http://rebound.example.org/x", "file:///etc/passwd", "https://a:b@rebound.example.org/x",
        "https://rebound.example.org/%2e%2e/x", "https://rebound.example.org.evil.example/x",
    ],
)  # fmt: skip
def test_only_what_is_named_is_fetched(client: httpx.Client, url: str) -> None:
    """Whatever does not begin with a prefix of FHIR_IMPORT_SOURCES is refused before there is a job."""
    response = begin(client, [("Patient", url)])
    assert response.status_code == 400
    assert any(word in problem(response) for word in ("prefixes that FHIR_IMPORT_SOURCES", "absolute URL", ". or .."))


def test_bad_manifests(client: httpx.Client, source: Giving) -> None:
    """Unknown types and formats, no input, AuditEvents, no Prefer: 400."""
    url = f"{source.root}/p.ndjson"
    assert "resource type" in problem(begin(client, [("Observations", url)]))
    assert "AuditEvent" in problem(begin(client, [("AuditEvent", url)]))
    assert "inputFormat" in problem(begin(client, [("Patient", url)], inputFormat="text/csv"))
    assert "0 files" in problem(begin(client, []))
    assert "respond-async" in problem(client.post("$import", json={}))


def test_two_imports_of_the_same_at_once_and_one_called_off(client: httpx.Client, source: Giving) -> None:
    """Each resource has one version; what was called off is gone."""
    source.files["twice"] = ndjson(patients(6000, 400))
    inputs = [("Patient", f"{source.root}/twice")]
    urls = [begin(client, inputs).headers["content-location"] for _ in range(3)]
    assert client.delete(urls.pop()).status_code == 202
    for url in urls:
        assert finished(client, url).json()["output"][0]["count"] == 400
    assert all(client.get(f"Patient/p{number}").json()["meta"]["versionId"] == "1" for number in (6000, 6399))
