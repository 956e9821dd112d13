"""Bad input: each gets one clear error of the right status, and the server goes on (http://hl7.org/fhir/R4/http.html#Status-Codes)"""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import zstandard

from fhir_server.config import Settings
from fhir_server.rest import protocol
from tests.api.conftest import FHIR, Running, problem

PATIENT = b'{"resourceType":"Patient","active":true}'


@pytest.fixture(autouse=True)
def keeps_serving(api: httpx.Client) -> Iterator[None]:
    """After every bad input a good request is answered."""
    yield
    assert api.post("Patient", content=PATIENT, headers=FHIR).status_code == 201


BODIES = {
    "broken": (b'{"resourceType":"Patient",', 400),
    "empty": (b"", 400),
    "only white space": (b"  \n", 400),
    "no object": (b"[1,2]", 400),
    "a string": (b'"Patient"', 400),
    "no resourceType": (b'{"active":true}', 400),
    "unknown resourceType": (b'{"resourceType":"Patiant"}', 400),
    "unknown element": (b'{"resourceType":"Patient","foo":1}', 400),
    "wrong type": (b'{"resourceType":"Patient","active":"yes"}', 400),
    "text for a list": (b'{"resourceType":"Patient","name":"x"}', 400),
    "null": (b'{"resourceType":"Patient","active":null}', 400),
    "repeated key": (b'{"resourceType":"Patient","active":true,"active":false}', 400),
    "deep": (b'{"resourceType":"Patient","extension":' + b'[{"url":"u","extension":' * 10_000 + b"1" + b"}]" * 10_000 + b"}", 400),
    "deep lists": (b'{"resourceType":"Patient","name":' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400),
    "invalid UTF-8": (b'{"resourceType":"Patient","name":[{"family":"\xff\xfe"}]}', 400),
    "raw NUL": (b'{"resourceType":"Patient","name":[{"family":"a\x00b"}]}', 400),
    "escaped NUL": (b'{"resourceType":"Patient","name":[{"family":"a\\u0000b"}]}', 422),
    "lone surrogate": (b'{"resourceType":"Patient","name":[{"family":"\\ud800"}]}', 400),
    "NaN": (b'{"resourceType":"Patient","multipleBirthInteger":NaN}', 400),
    "huge number": (b'{"resourceType":"Patient","multipleBirthInteger":' + b"9" * 5000 + b"}", 400),
    "trailing text": (PATIENT + b"x", 400),
    "UTF-16": (PATIENT.decode().encode("utf-16"), 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(api: httpx.Client, name: str) -> None:
    """What is no resource is refused with an OperationOutcome that says why."""
    body, status = BODIES[name]
    answer = api.post("Patient", content=body, headers=FHIR)
    assert answer.status_code in (status, 422) if status == 400 else answer.status_code in (400, 422), answer.text[:500]
    assert len(problem(answer)) > 10
    assert len(answer.content) < 100_000


def test_body_over_the_limit(api: httpx.Client) -> None:
    """413 whether its length is announced or not."""
    big = b'{"resourceType":"Patient","name":[{"family":"' + b"x" * 2_100_000 + b'"}]}'
    assert api.post("Patient", content=big, headers=FHIR).status_code == 413
    pieces = (big[start : start + 50_000] for start in range(0, len(big), 50_000))
    answer = api.post("Patient", content=pieces, headers=FHIR)
    assert answer.status_code == 413
    assert "2000000 bytes" in problem(answer)


def test_announced_length_is_enough_to_refuse(running: Running) -> None:
    """413 comes before the body is sent."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(
            b"POST /fhir/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Length: 999999999\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("method", "url", "content_type"),
    [
        ("POST", "Patient", "application/fhir+json"),
        ("PUT", "Patient?identifier=deep", "application/fhir+json"),
        ("PATCH", "Patient/deep", "application/json-patch+json"),
        ("POST", "", "application/fhir+json"),
        ("POST", "Patient/deep/$meta-add", "application/fhir+json"),
        ("POST", "Patient/deep/$everything", "application/fhir+json"),
    ],
)
def test_deep_bodies(api: httpx.Client, method: str, url: str, content_type: str) -> None:
    """What is nested without end is 400 wherever it is sent, and $validate says what is wrong with it."""
    deep = b'{"resourceType":' * 3000
    answer = api.request(method, url, content=deep, headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert "recursion" not in problem(answer)
    assert "nested too deeply" in problem(api.post("Patient/$validate", content=deep, headers=FHIR))


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_packed_bodies(api: httpx.Client, coding: str, pack: object) -> None:
    """Packed bodies are taken; a bomb is 413, a broken or cut one 400, an unknown coding 415."""
    assert callable(pack)
    headers = FHIR | {"Content-Encoding": coding}
    assert api.post("Patient", content=pack(PATIENT), headers=headers).status_code == 201
    bomb = pack(b" " * 200_000_000)
    assert len(bomb) < 1_000_000
    assert api.post("Patient", content=bomb, headers=headers).status_code == 413
    assert api.post("Patient", content=PATIENT, headers=headers).status_code == 400
    assert problem(api.post("Patient", content=pack(PATIENT)[:-9], headers=headers)) == f"The {coding} body ends early"
    assert api.post("Patient", content=pack(PATIENT)[:2], headers=headers).status_code == 400
    unknown = api.post("Patient", content=PATIENT, headers=FHIR | {"Content-Encoding": "br"})
    assert unknown.status_code == 415
    assert unknown.headers["accept-encoding"] == "gzip, zstd"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/fhir+json", 201),
        ("application/json; charset=UTF-8", 201),
        ("application/fhir+json; fhirVersion=4.0", 201),
        ("application/fhir+json; fhirVersion=5.0", 415),
        ("application/json; charset=iso-8859-1", 415),
        ("application/fhir+xml", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json-patch+json", 415),
        ("nonsense", 415),
        ("", 400),
    ],
)
def test_content_types(api: httpx.Client, content_type: str, status: int) -> None:
    """Only JSON in UTF-8 of R4 is taken."""
    answer = api.post("Patient", content=PATIENT, headers={"Content-Type": content_type} if content_type else {})
    assert answer.status_code == status
    if status != 201:
        assert "Content-Type" in problem(answer) or "UTF-8" in problem(answer) or "fhirVersion" in problem(answer)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "metadata", "GET, HEAD"),
        ("PUT", "", None),
        ("PATCH", "Patient/x/_history", "GET, HEAD"),
        ("POST", "Patient/x", None),
        ("TRACE", "Patient/x", None),
        ("GET", "Patient/_search", "POST"),
        ("PUT", "AuditEvent/x", "GET, HEAD"),
        ("DELETE", "AuditEvent/x", "GET, HEAD"),
        ("PATCH", "AuditEvent/x", "GET, HEAD"),
        ("DELETE", "AuditEvent?date=2020", "GET, HEAD"),
        ("POST", "AuditEvent/x/$meta-add", "GET, HEAD"),
    ],
)
def test_methods(api: httpx.Client, method: str, path: str, allow: str | None) -> None:
    """A method that a path does not have is 405 with Allow; AuditEvents only grow."""
    answer = api.request(method, path)
    assert answer.status_code == 405
    assert problem(answer)
    assert answer.headers["allow"] == (allow or answer.headers["allow"])
    assert method not in answer.headers["allow"].split(", ")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("Patiant/1", "did you mean Patient?"),
        ("patient", "did you mean Patient?"),
        ("Zebra", "not a resource type"),
        ("Patient/1/2/3/4", "nothing at"),
        ("_unknown", "nothing at"),
        ("Patient/1/_nothing", "nothing at"),
        ("%00", "not a resource type"),
        ("%ff%fe", "not a resource type"),
        ("Patient/" + "x" * 1000, "not a valid id"),
        ("Patient/a%00b", "not a valid id"),
        ("Patient/../../etc", ""),
        ("Patient%2F1", "not a resource type"),
    ],
)
def test_unknown_paths(api: httpx.Client, path: str, word: str) -> None:
    """404 with what is wrong with the path."""
    answer = api.get(path)
    assert answer.status_code == 404
    if word:
        assert word in problem(answer)


def test_long_urls(api: httpx.Client, running: Running) -> None:
    """A query string over the limit is 414 and names the way out; a long path is 414 too."""
    answer = api.get("Patient?name=" + "x" * 50_000)
    assert answer.status_code == 414
    assert "_search" in problem(answer)
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(b"GET /fhir/Patient?name=" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(10_000), b""))
        assert received.startswith(b"HTTP/1.1 414 ") and b"OperationOutcome" in received and b"FHIR_MAX_QUERY_LENGTH" in received
    assert api.get("Patient/" + "x" * 5_000).status_code == 414
    form = api.post("Patient/_search", data={"name": "x" * 100_000})
    assert form.status_code == 413
    assert "FHIR_MAX_QUERY_LENGTH" in problem(form)


def test_the_longest_query_of_the_settings(tmp_path: Path) -> None:
    """A query may be as long as the setting says, in a URL and in a form; one byte more is refused."""
    one = Running(tmp_path)
    one.start()
    try:
        most = int(Settings.model_fields["max_query_length"].default)
        with httpx.Client(base_url=f"{one.root}/fhir/") as client:
            for size, status in ((most, 200), (most + 1, 414)):
                query = "name=x&identifier=".ljust(size, "1")
                assert client.get(f"Patient?{query}").status_code == status
                form = client.post("Patient/_search", content=query, headers={"Content-Type": "application/x-www-form-urlencoded"})
                assert form.status_code == (200 if status == 200 else 413)
    finally:
        one.stop()


def test_a_form_without_its_type(api: httpx.Client) -> None:
    """What is to be said is the type of a form, not that of a resource."""
    answer = api.post("Patient/_search", content="name=x")
    assert answer.status_code == 400
    assert "application/x-www-form-urlencoded" in problem(answer)


def test_too_many_headers(api: httpx.Client) -> None:
    """More headers than any client needs are 431."""
    assert api.get("Patient/x", headers={f"X-{n}": "1" for n in range(200)}).status_code == 431


def test_endless_head(running: Running) -> None:
    """A head that never ends is cut off with 431 rather than kept in memory."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(b"GET /fhir/metadata HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        try:
            for _ in range(100):
                client.sendall(b"y" * 10_000)
            received = client.recv(100)
        except (BrokenPipeError, ConnectionResetError):
            received = b""  # it was closed while this side was still sending
        assert received == b"" or received.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("query", ["name=%ff", "name=%", "%00=1", "&&&=", "_count=-1", "_count=1e3", "_sort=%00", "a" * 5000])
def test_odd_queries(api: httpx.Client, query: str) -> None:
    """Odd query strings are 200 or 400, never worse."""
    answer = api.get(f"Patient?{query}")
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert problem(answer)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/xml"}, 406),
        ({"Accept": "application/fhir+xml, text/html;q=0.5"}, 406),
        ({"Accept": "application/fhir+json;fhirVersion=5.0"}, 406),
        ({"Accept": "application/json;q=0"}, 406),
        ({"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, 200),
        ({"Accept": "application/json"}, 200),
        ({"Accept": "application/fhir+json; fhirVersion=4.0"}, 200),
        ({"Accept": "application/*"}, 200),
        ({"Accept": ""}, 200),
    ],
)
def test_accept(api: httpx.Client, headers: dict[str, str], status: int) -> None:
    """What cannot be JSON of R4 is 406: http://hl7.org/fhir/R4/http.html#mime-type"""
    answer = api.get("metadata", headers=headers)
    assert answer.status_code == status
    if status == 406:
        assert "JSON" in problem(answer) or "fhirVersion" in problem(answer)


@pytest.mark.parametrize(
    ("format", "status"),
    [("json", 200), ("application/fhir%2Bjson", 200), ("application/fhir+json", 200), ("xml", 406), ("ttl", 406), ("", 200)],
)
def test_format(api: httpx.Client, format: str, status: int) -> None:
    """_format goes before Accept: http://hl7.org/fhir/R4/http.html#parameters"""
    assert api.get(f"metadata?_format={format}", headers={"Accept": "application/json"}).status_code == status
    if status == 200 and format:
        assert api.get(f"metadata?_format={format}", headers={"Accept": "application/xml"}).status_code == 200


def test_every_answer_has_a_request_id(api: httpx.Client) -> None:
    """The caller's X-Request-Id comes back; one that could do harm is replaced."""
    assert api.get("metadata", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert api.get("Patient/none", headers={"X-Request-Id": 'a"b'}).headers["x-request-id"] != 'a"b'
    assert len(api.get("zebra").headers["x-request-id"]) == 16


def test_not_http(running: Running) -> None:
    """Bytes that are not HTTP are 400, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(b"\x16\x03\x01\x02\x00hello\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_client_that_leaves(running: Running) -> None:
    """A client that closes the connection in the middle of a body does no harm."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(
            b"POST /fhir/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Length: 100\r\n\r\n{"
        )


def test_problems_do_not_echo_markup(api: httpx.Client) -> None:
    """What a caller sends comes back as JSON text only, cut short."""
    answer = api.get("<script>" + "x" * 300)
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert len(problem(answer)) < 200
    assert json.loads(answer.content)


def test_head_that_never_comes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose request head does not arrive in time is closed with 408."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(b"GET /fhir/metadata HTTP/1.1\r\nHost:")
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_large_documents_do_not_stop_others(api: httpx.Client) -> None:
    """A document of 1.5 MB is checked and stored like any other."""
    names = ",".join(['{"family":"' + "x" * 1000 + '"}'] * 1500)
    answer = api.post("Patient", content=f'{{"resourceType":"Patient","name":[{names}]}}', headers=FHIR)
    assert answer.status_code == 201
