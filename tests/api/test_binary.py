"""A Binary as what it holds: https://hl7.org/fhir/R4/binary.html#rest"""

from base64 import b64encode
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import FHIR, problem

PAGE = b"<p onclick='alert(1)'>\xff\x00</p>" * 100


@pytest.fixture(name="page")
def a_page(api: httpx.Client) -> str:
    """A Binary that holds a page."""
    body = {
        "resourceType": "Binary",
        "id": uuid4().hex,
        "contentType": "text/html",
        "data": b64encode(PAGE).decode(),
        "securityContext": {"reference": "Patient/of-page"},
    }
    assert api.put(f"Binary/{body['id']}", json=body, headers=FHIR).status_code == 201
    return f"Binary/{body['id']}"


@pytest.mark.parametrize("accept", ["text/html", "text/*", "image/png, TEXT/HTML;q=0.5", "application/fhir+xml, text/html"])
@pytest.mark.parametrize("version", ["", "/_history/1"])
def test_read_as_what_it_holds(api: httpx.Client, page: str, accept: str, version: str) -> None:
    """Whoever asks for its type alone gets the bytes; no browser takes them for a page of this server."""
    answer = api.get(page + version, headers={"Accept": accept})
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["x-security-context"] == "Patient/of-page"
    assert (answer.headers["content-disposition"], answer.headers["x-content-type-options"]) == ("attachment", "nosniff")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["etag"] == 'W/"1"'
    assert api.get(page + version, headers={"Accept": accept, "If-None-Match": 'W/"1"'}).status_code == 304
    assert api.head(page + version, headers={"Accept": accept, "Accept-Encoding": "identity"}).headers["content-length"] == str(
        len(PAGE)
    )


@pytest.mark.parametrize("accept", ["application/fhir+json", "*/*", "text/html, application/fhir+json", "application/*", ""])
def test_read_as_a_resource(api: httpx.Client, page: str, accept: str) -> None:
    """Whoever takes JSON gets the resource, also where anything would do."""
    assert api.get(page, headers={"Accept": accept}).json()["resourceType"] == "Binary"


@pytest.mark.parametrize("accept", ["image/png", "application/fhir+xml", "text/html;q=0", "application/fhir+json;fhirVersion=3.0"])
def test_asked_for_as_something_else(api: httpx.Client, page: str, accept: str) -> None:
    """406, and which types there are."""
    answer = api.get(page, headers={"Accept": accept})
    assert answer.status_code == 406
    assert problem(answer) == f"{page} is offered as text/html, as it is, and application/fhir+json, not as {accept}"
    assert api.get(f"{page}?_format=xml", headers={"Accept": "text/html"}).status_code == 406


def test_others_are_never_what_they_hold(api: httpx.Client) -> None:
    """Only Binaries have another form than FHIR's."""
    api.put("Patient/of-page", json={"resourceType": "Patient", "id": "of-page"}, headers=FHIR)
    assert api.get("Patient/of-page", headers={"Accept": "text/html"}).status_code == 406


def test_written_as_what_it_holds(api: httpx.Client) -> None:
    """What is no FHIR becomes the content of a Binary, by POST and by PUT; the headers say its type and whom it is about."""
    sent = {"Content-Type": "image/png", "X-Security-Context": "Patient/of-page"}
    made = api.post("Binary", content=PAGE, headers=sent)
    assert made.status_code == 201
    document = made.json()
    assert (document["contentType"], document["data"]) == ("image/png", b64encode(PAGE).decode())
    assert document["securityContext"] == {"reference": "Patient/of-page"}
    place = f"Binary/{document['id']}"
    assert api.put(place, content=b"two", headers={"Content-Type": "text/plain; charset=utf-8"}).status_code == 200
    again = api.get(place, headers={"Accept": "text/plain"})
    assert (again.content, again.headers["content-type"]) == (b"two", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("type", "content", "status"),
    [
        ("Binary", "application/fhir+xml", 415),
        ("Binary", "", 400),
        ("Patient", "image/png", 415),
    ],
)
def test_what_is_not_taken(api: httpx.Client, type: str, content: str, status: int) -> None:
    """FHIR in a format that is not spoken, nothing said at all, other types of resources, and what is no type of content."""
    assert (
        api.post(type, content=b"<x/>", headers={"Content-Type": content.encode("latin-1")} if content else {}).status_code
        == status
    )


def test_no_longer_than_other_bodies(api: httpx.Client) -> None:
    """FHIR_MAX_BODY counts what is sent; a type that is none is refused as in any resource."""
    assert api.post("Binary", content=bytes(51_000_000), headers={"Content-Type": "image/png"}).status_code == 413
    assert api.post("Binary", content=b"x", headers={"Content-Type": "image/png  x"}).status_code in (400, 422)
