"""Servers are overloaded, break off, forget, lead elsewhere and miscount: patience where it helps, a clear sentence where not."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from migrating.faking import Faking, Says, faking, lines, page, patients
from migrating.running import holding, imported, totals
from oauth.world import key

from fhir_server.migrating.remote import connection

FIRST, COUNT = "Patient?_count=200", "Patient?_summary=count"
BUSY = Says(status=429, headers={"Retry-After": "0"})


@pytest.fixture
def source() -> Iterator[Faking]:
    with faking() as made:
        made.knows("Patient")
        made.says(COUNT, Says({"resourceType": "Bundle", "type": "searchset", "total": 3}))
        yield made


def exporting(source: Faking, *, output: object, **more: object) -> None:
    """The server exports, and this is its manifest."""
    source.knows("Patient", export=True)
    source.says("$export", BUSY, Says(status=202, headers={"Content-Location": f"{source.base}/status"}))
    manifest = Says({"requiresAccessToken": True, "output": output, "error": [], **more})
    source.says("status", Says(status=202, headers={"Retry-After": "0", "X-Progress": "half"}), BUSY, manifest)


def test_patience(source: Faking, tmp_path: Path) -> None:
    """429, 503 with Retry-After and pages that are cut off are asked for again; links may be relative."""
    source.says(FIRST, BUSY, Says(status=503, headers={"Retry-After": "0"}), page(patients(1, 2), "Patient?page=2"))
    source.says("Patient?page=2", page(patients(3))._replace(cut=30), page(patients(3)))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 0 and done.of("verified") == {"Patient": 3}, done.said
    assert source.paths().count(FIRST) == 3 and source.paths().count("Patient?page=2") == 2


def test_packed_answers(source: Faking, tmp_path: Path) -> None:
    """Pages and files that come packed, in chunks, one of them cut off."""
    source.says(FIRST, page(patients(1, 2, 3))._replace(packed=True, cut=60), page(patients(1, 2, 3))._replace(packed=True))
    assert imported(tmp_path / "data", "server", source.base).of("verified") == {"Patient": 3}
    exporting(source, output=[{"type": "Patient", "url": f"{source.base}/files/1", "count": 3}])
    source.says("files/1", Says(lines(patients(1, 2, 3)), packed=True))
    assert imported(tmp_path / "data", "server", source.base).of("unchanged") == {"Patient": 3}


def test_retry_after_is_waited_for(source: Faking, tmp_path: Path) -> None:
    """As long as it says."""
    source.says(FIRST, Says(status=429, headers={"Retry-After": "2"}), page(patients(1, 2, 3)))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 0 and done.summary["seconds"] >= 2


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("https://127.0.0.1/fhir/Patient?page=2", "which is not on the server that was named"),
        ("http://127.0.0.1:1/fhir/Patient?page=2", "which is not on the server that was named"),
        ("//evil.example.org/x", "links to http://evil.example.org/x"),
        ("file:///etc/passwd", "is not a URL of http or https"),
        ("http://user:secret@127.0.0.1/", "a URL must not hold a user's name"),
        (FIRST, "names itself as the page that follows"),
    ],
)
def test_links_that_lead_elsewhere(source: Faking, tmp_path: Path, link: str, text: str) -> None:
    """They are not followed, and nothing is written."""
    source.says(FIRST, page(patients(1), link))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and text in done.said.replace("\n", " ") and "secret" not in done.said and "page=2" not in done.said


def test_where_it_was_interrupted(source: Faking, tmp_path: Path) -> None:
    """What came is not asked for again; where the server has forgotten its page, the type is begun anew."""
    source.says(FIRST, page(patients(1, 2), f"{source.base}/Patient?page=2"))
    source.says("Patient?page=2", Says(status=500))
    assert imported(tmp_path / "data", "server", source.base).code == 2
    source.says("Patient?page=2", Says(status=410))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and "page=2" not in done.said
    source.says("Patient?page=2", page(patients(3)))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 0 and done.of("received") == done.of("verified") == {"Patient": 3}
    assert source.paths().count("metadata") == 2 and source.paths().count(FIRST) == 2


def test_counts_that_differ_are_told(source: Faking, tmp_path: Path) -> None:
    """What was missed while pages were turned; a resource that comes twice counts once, the later one."""
    source.says(FIRST, page([*patients(1, 2), *patients(2), *patients(1, active=True)]))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 1 and done.of("repeated") == {"Patient": 2}
    assert done.texts == ["Patient: The source says that it has 3, and 2 came: it may have changed meanwhile; import again"]
    with holding(tmp_path / "data") as here:
        assert here.get("Patient/p1").json()["active"] is True


def test_what_is_wrong_comes_to_nothing(source: Faking, tmp_path: Path) -> None:
    """Each is told with its place and the FHIRPath; parts of resources must not take the place of whole ones."""
    part = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]}
    wrong = [
        *patients(2, birthDate="x"),
        *patients(3, meta=part),
        {"resourceType": "Basic", "id": "b"},
        {"resourceType": "Patient"},
    ]
    outcome = {"resource": {"resourceType": "OperationOutcome", "issue": []}, "search": {"mode": "outcome"}}
    told = page([*patients(1), *wrong])
    told.body["entry"].append(outcome)
    source.says(FIRST, told)
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 1 and done.of("written") == {"Patient": 1} and done.of("failed") == {"Patient": 4}
    assert ["Patient.birthDate"] in [each["issue"][0].get("expression") for each in done.report]
    assert {text.partition(":")[0] for text in done.texts} == {
        "search for Patient line 3 (Patient/p3)", "search for Patient line 2 (Patient/p2)",
        "search for Patient line 4 (Patient/b)", "search for Patient line 5", "Patient",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Says({"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}), "is a server of FHIR 5.0.0; only R4"),
        (Says({"resourceType": "Patient"}), "is no CapabilityStatement: is this the base URL of a FHIR server?"),
        (Says(b"<html>"), "does not answer with a JSON object"),
        (Says(status=404), "answers 404"),
        (Says({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}), "names no type that can be searched"),
    ],
)
def test_what_is_no_server_of_r4(source: Faking, tmp_path: Path, answer: Says, text: str) -> None:
    """Said before anything is fetched."""
    source.says("metadata", answer)
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and text in done.said


def test_an_export_with_patience(source: Faking, tmp_path: Path) -> None:
    """Kick-off and status are asked for again where they are busy, the token goes along, and the server may forget the files at last."""
    output = [{"type": "Patient", "url": f"{source.base}/files/1?sig=x", "count": 3}]
    exporting(source, output=output)
    source.says("files/1?sig=x", Says(lines(patients(1, 2, 3)), cut=40), Says(lines(patients(1, 2, 3))))
    done = imported(tmp_path / "data", "server", source.base, FHIR_FROM_TOKEN="t0ken")
    assert done.code == 0 and done.of("verified") == {"Patient": 3}, done.said
    assert ("DELETE", "status") in {(method, path) for method, path, _ in source.asked}
    assert {headers.get("authorization") for _, _, headers in source.asked} == {"Bearer t0ken"}
    assert next(headers for _, path, headers in source.asked if path == "$export")["prefer"] == "respond-async"


def service(source: Faking, folder: Path, *tokens: str) -> tuple[str, ...]:
    """Options for a backend service, which gets these tokens one after the other."""
    source.says(".well-known/smart-configuration", Says({"token_endpoint": f"{source.base}/token"}))
    source.says("token", *(Says({"access_token": token, "token_type": "bearer", "expires_in": 300}) for token in tokens))
    (folder / "key.pem").write_bytes(key("backend").as_pem(private=True))
    return ("--client", "backend", "--key-file", str(folder / "key.pem"))


def test_a_token_that_ends_early(source: Faking, tmp_path: Path) -> None:
    """Another one is asked for, for pages and for files."""
    options = service(source, tmp_path, "first", "second", "third")
    exporting(source, output=[{"type": "Patient", "url": "files/1", "count": 3}])
    source.says("$export", Says(status=401), Says(status=202, headers={"Content-Location": f"{source.base}/status"}))
    source.says("files/1", Says(status=401), Says(lines(patients(1, 2, 3))))
    done = imported(tmp_path / "data", "server", source.base, *options)
    assert done.code == 0, done.said
    signed = {path: headers["authorization"] for _, path, headers in source.asked if "authorization" in headers}
    assert signed["status"] == "Bearer third" and signed["files/1"] == "Bearer third"


def test_a_token_that_is_never_accepted(source: Faking, tmp_path: Path) -> None:
    """A second one is asked for, no more."""
    options = service(source, tmp_path, "token")
    source.says("metadata", Says(status=401))
    done = imported(tmp_path / "data", "server", source.base, *options)
    assert done.code == 2 and "metadata answers 401" in done.said and source.paths().count("token") == 2


def test_a_token_that_is_refused(source: Faking, tmp_path: Path) -> None:
    """The error of the token endpoint is told."""
    options = service(source, tmp_path, "token")
    source.says("token", Says({"error": "invalid_client"}, 400))
    done = imported(tmp_path / "data", "server", source.base, *options)
    assert done.code == 2 and "/fhir/token: it answers 400 invalid_client" in done.said


def test_basic(source: Faking, tmp_path: Path) -> None:
    """A user's name and password; the password from a file."""
    source.says(FIRST, page(patients(1, 2, 3)))
    (tmp_path / "password").write_text("pass:wörd\n", "utf-8")
    options = ("--user", "migrator", "--password-file", str(tmp_path / "password"))
    assert imported(tmp_path / "data", "server", source.base, *options).code == 0
    expected = f"Basic {b64encode('migrator:pass:wörd'.encode()).decode()}"
    assert {headers.get("authorization") for _, _, headers in source.asked} == {expected}


def test_what_an_export_could_not_give(source: Faking, tmp_path: Path) -> None:
    """Fewer lines than the manifest says, its own errors, and types that are left out, are told; the rest is here."""
    output = [{"type": "Patient", "url": "files/1", "count": 3}, {"type": "AuditEvent", "url": "files/2", "count": 9}]
    exporting(source, output=output, error=[{"type": "OperationOutcome", "url": "files/3"}])
    issue = {"severity": "error", "code": "exception", "diagnostics": "disk on fire"}
    source.says("files/1", Says(lines(patients(1, 2))))
    source.says("files/3", Says(lines([{"resourceType": "OperationOutcome", "issue": [issue]}])))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 1 and done.of("verified") == {"Patient": 2}
    assert "files/2" not in source.paths()
    told = " ".join(done.texts)
    for text in ("manifest says 3 resources, the file has 2 lines", "The source says: disk on fire", "AuditEvents were left out"):
        assert text in told


def test_files_elsewhere(source: Faking, tmp_path: Path) -> None:
    """Only from where the operator says, and without the token."""
    with faking() as bucket:
        bucket.says("f", Says(lines(patients(1, 2, 3))))
        exporting(source, output=[{"type": "Patient", "url": f"{bucket.base}/f?sig=secret", "count": 3}])
        bucket.says("f?sig=secret", Says(lines(patients(1, 2, 3))))
        refused = imported(tmp_path / "data", "server", source.base, FHIR_FROM_TOKEN="t0ken")
        assert refused.code == 2 and f"--files-from {bucket.origin} allows it" in refused.said and "secret" not in refused.said
        assert bucket.asked == []
        done = imported(tmp_path / "data", "server", source.base, "--files-from", bucket.origin, FHIR_FROM_TOKEN="t0ken")
        assert done.code == 0 and done.of("verified") == {"Patient": 3}, done.said
        assert "authorization" not in bucket.asked[0][2]


def test_an_export_that_leads_to_another_server_by_redirect(source: Faking, tmp_path: Path) -> None:
    """A redirect counts as the address that it names."""
    with faking() as bucket:
        bucket.says("f", Says(lines(patients(1, 2, 3))))
        exporting(source, output=[{"type": "Patient", "url": f"{source.base}/files/1", "count": 3}])
        source.says("files/1", Says(status=307, headers={"Location": f"{bucket.base}/f"}))
        assert imported(tmp_path / "data", "server", source.base, FHIR_FROM_TOKEN="t0ken").code == 2 and bucket.asked == []
        done = imported(tmp_path / "data", "server", source.base, "--files-from", bucket.origin, FHIR_FROM_TOKEN="t0ken")
        assert done.code == 0 and "authorization" not in bucket.asked[0][2]


def test_a_redirect_on_the_same_server(source: Faking, tmp_path: Path) -> None:
    """It is followed with the token, a few times."""
    exporting(source, output=[{"type": "Patient", "url": f"{source.base}/files/1", "count": 3}])
    source.says("files/1", Says(status=302, headers={"Location": "/fhir/files/2"}))
    source.says("files/2", Says(lines(patients(1, 2, 3))))
    assert imported(tmp_path / "data", "server", source.base, FHIR_FROM_TOKEN="t0ken").of("verified") == {"Patient": 3}
    assert {headers.get("authorization") for _, path, headers in source.asked if path == "files/2"} == {"Bearer t0ken"}
    source.says("files/1", Says(status=302, headers={"Location": "/fhir/files/1"}))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and "redirects too often" in done.said


def test_files_that_are_gone(source: Faking, tmp_path: Path) -> None:
    """The same command begins another export, and nothing is left of the first one's files."""
    exporting(source, output=[{"type": "Patient", "url": "files/1"}, {"type": "Patient", "url": "files/2"}])
    source.says("files/1", Says(lines(patients(1, 2))))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and "files/2 answers 404; the same command goes on" in done.said
    exporting(source, output=[{"type": "Patient", "url": "files/3"}])
    source.says("files/3", Says(lines(patients(1, 5, 6))))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 0 and done.of("source") == done.of("verified") == {"Patient": 3}
    with holding(tmp_path / "data") as here:
        assert here.get("Patient/p2").status_code == 404


@pytest.mark.parametrize(
    ("limit", "text"),
    [("FHIR_MAX_BODY", "The line has more than 2000 bytes"), ("FHIR_IMPORT_MAX_SIZE", "has more than 2,000 bytes")],
)
def test_lines_and_files_that_are_too_long(source: Faking, tmp_path: Path, limit: str, text: str) -> None:
    """A line is told and passed over, a file ends the import."""
    long = patients(1, text={"status": "empty", "div": "x" * 5_000})
    exporting(source, output=[{"type": "Patient", "url": "files/1"}])
    source.says("files/1", Says(lines([*long, *patients(2)]), packed=True))
    done = imported(tmp_path / "data", "server", source.base, **{limit: "2000"})
    assert text in f"{done.said} {done.texts}"
    assert (done.code, done.of("written") if done.summary else {}) == ((1, {"Patient": 1}) if limit == "FHIR_MAX_BODY" else (2, {}))


def test_pages_without_end(source: Faking, tmp_path: Path) -> None:
    """Empty ones are turned some times, then no more."""
    source.says(FIRST, page([], "Patient?a"))
    source.says("Patient?a", page([], "Patient?b"))
    source.says("Patient?b", page([], "Patient?a"))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and "turns empty pages without end" in done.said and len(source.asked) < 60


def test_what_is_left_of_another_import(source: Faking, tmp_path: Path) -> None:
    """Whoever imports something else is told of records that lie about; a report that cannot be written is told before anything is done."""
    source.says(FIRST, Says(status=500))
    assert imported(tmp_path / "data", "server", source.base).code == 2
    source.says("Patient?_count=7", page(patients(1, 2, 3)))
    done = imported(tmp_path / "data", "server", source.base, "--count", "7")
    assert done.code == 0 and "unfinished: another import lies in" in done.said
    [left] = [path for path in (tmp_path / "data" / "import").iterdir() if path.is_dir()]
    assert left.stat().st_mode & 0o777 == 0o700
    asked = len(source.asked)
    done = imported(tmp_path / "data", "server", source.base, "--report", str(tmp_path / "nowhere" / "r"))
    assert done.code == 2 and "is no folder that can be written to" in done.said and len(source.asked) == asked


def test_an_export_that_fails(source: Faking, tmp_path: Path) -> None:
    """Its reason is told, and the same command begins another one; where it cannot be begun, it pages."""
    exporting(source, output=[])
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "x", "diagnostics": "no room"}]}
    source.says("status", Says(outcome, 500))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 2 and "answers 500: no room; the same command begins another one" in done.said
    source.says("$export", Says(status=501))
    source.says(FIRST, page(patients(1, 2, 3)))
    assert imported(tmp_path / "data", "server", source.base).of("verified") == {"Patient": 3}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("http://far.example.org/fhir",), "is not https: records and credentials would travel unencrypted (--insecure allows it)"),
        (("ftp://far.example.org/fhir",), "is not a URL of http or https"),
        (("https://a:b@far.example.org/fhir",), "a URL must not hold a user's name or password"),
        (("https://far.example.org/fhir", "--type", "Nonsense"), "--type Nonsense is not a resource type"),
        (("https://far.example.org/fhir", "--since", "2026-01-01"), "is no instant such as"),
        (("https://far.example.org/fhir", "--user", "a"), "user a needs a password: FHIR_FROM_PASSWORD, or --password-file"),
        (("https://far.example.org/fhir", "--client", "a"), "--client needs its private key: --key-file"),
        (("https://far.example.org/fhir", "--token-file", "/nowhere"), "/nowhere cannot be read"),
        (("https://far.example.org/fhir", "--client", "a", "--key-file", __file__), "holds no private key"),
        (("https://far.example.org/fhir", "--client", "a", "--key-file", "x", "--user", "b"), "give one way to sign in"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    """Refused before anything is asked."""
    done = imported(tmp_path / "data", "server", *options)
    assert done.code == 2 and text in done.said


def test_totals_stay(source: Faking, tmp_path: Path) -> None:
    """A server that is asked for what it does not have is no reason to write anything."""
    source.says(COUNT, Says({"resourceType": "Bundle", "type": "searchset", "total": 0}))
    done = imported(tmp_path / "data", "server", source.base)
    assert done.code == 0 and FIRST not in source.paths()
    with holding(tmp_path / "data") as here:
        assert totals(here, ["Patient"]) == {"Patient": 0}


def test_what_fetched_nothing_leaves_nothing(source: Faking, tmp_path: Path) -> None:
    """An import that was refused at once is not told of as unfinished."""
    source.says("metadata", Says(status=401))
    assert imported(tmp_path / "data", "server", source.base).code == 2
    assert not [path for path in (tmp_path / "data" / "import").iterdir() if path.is_dir()]
    source.knows("Patient")
    source.says(FIRST, page(patients(1, 2, 3)))
    done = imported(tmp_path / "data", "server", source.base, "--by", "pages")
    assert done.code == 0 and "unfinished" not in done.said


def test_levels(source: Faking, tmp_path: Path) -> None:
    """What a server says of a Group that is not there is told, not that it had no exports; other levels are refused before it is asked."""
    source.knows("Patient", export=True)
    done = imported(tmp_path / "data", "server", source.base, "--level", "Group/none")
    assert done.code == 2 and "Group/none/$export" in done.said and "answers 404" in done.said
    asked = len(source.asked)
    done = imported(tmp_path / "data", "server", source.base, "--level", "Patients")
    assert done.code == 2 and "--level Patients is neither Patient nor Group/[id]" in done.said
    assert len(source.asked) == asked


def test_nobody_answers(source: Faking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People are told what is waited for; a server that speaks no TLS is not asked a second time."""
    monkeypatch.setattr(connection, "TIMES", 2)
    monkeypatch.setattr(connection, "PAUSE", 0.01)
    done = imported(tmp_path / "data", "server", "http://127.0.0.1:1/fhir")
    assert done.code == 2 and "waiting: the server does not answer: it cannot be connected to" in done.said
    assert done.said.endswith("does not answer: it cannot be connected to")
    done = imported(tmp_path / "data", "server", source.base.replace("http:", "https:"))
    assert done.code == 2 and "TLS fails" in done.said and "waiting" not in done.said
    source.says(FIRST, BUSY, page(patients(1, 2, 3)))
    assert "waiting: the server answers 429" in imported(tmp_path / "data", "server", source.base).said
