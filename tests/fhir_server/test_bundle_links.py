"""Links between the entries of a transaction are replaced where the specification says so, and nowhere else."""

import json
from typing import Any

import pytest

from fhir_server.bundles.links import Links, criteria_in, place_of, rewrite, root_of, unresolved

URN = "urn:uuid:01a4bf64-666d-0977-f60a-82990578f122"
OID = "urn:oid:1.2.3.4"
REMOTE = "http://other.example.org/fhir/Patient/7"
BY_CRITERIA = "Practitioner?identifier=http://x|1"


def links() -> Links:
    made = Links()
    made.add(URN, "Patient/new", created=True)
    made.add(OID, "Organization/2", created=False)
    made.add(REMOTE, "Patient/8", created=True)
    made.criteria[BY_CRITERIA] = "Practitioner/3"
    return made


def rewritten(type: str, document: dict[str, Any], root: str = "", escape: bool = False) -> dict[str, Any]:
    text = json.dumps({"resourceType": type, **document})
    body = (text.replace("/", "\\/") if escape else text).encode()
    made = links()
    result: dict[str, Any] = json.loads(rewrite(type, body, made.lookup(root), made.needles()))
    return {name: value for name, value in result.items() if name != "resourceType"}


@pytest.mark.parametrize(
    ("link", "meant"),
    [
        (URN, "Patient/new"),
        (f"{URN}#part", "Patient/new#part"),
        (f"{URN}/_history/5", "Patient/new/_history/1"),
        (OID, "Organization/2"),
        (f"{OID}/_history/5", "Organization/2/_history/5"),
        (REMOTE, "Patient/8"),
        (f"{REMOTE}/_history/3", "Patient/8/_history/1"),
        (BY_CRITERIA, "Practitioner/3"),
        ("urn:uuid:00000000-0000-0000-0000-000000000000", None),
        ("Patient/7", None),
        ("#contained", None),
        ("http://elsewhere.example.org/fhir/Patient/7", None),
    ],
)
@pytest.mark.parametrize("escape", [False, True])
def test_references(link: str, meant: str | None, escape: bool) -> None:
    """A reference to an entry becomes one to its resource, however its slashes are spelled; others stay."""
    assert rewritten("Observation", {"subject": {"reference": link}}, escape=escape) == {"subject": {"reference": meant or link}}


def test_relative_references_mean_entries_of_the_same_root() -> None:
    """In an entry whose fullUrl lies on another server, `Patient/7` is that server's patient."""
    root = root_of("http://other.example.org/fhir/Observation/1")
    assert rewritten("Observation", {"subject": {"reference": "Patient/7"}}, root) == {"subject": {"reference": "Patient/8"}}


@pytest.mark.parametrize(
    ("type", "document", "expected"),
    [
        (
            "Patient",
            {"extension": [{"url": "http://x", "valueUri": URN}]},
            {"extension": [{"url": "http://x", "valueUri": "Patient/new"}]},
        ),
        (
            "Patient",
            {"extension": [{"url": "http://x", "valueUrl": OID}]},
            {"extension": [{"url": "http://x", "valueUrl": "Organization/2"}]},
        ),
        (
            "Patient",
            {"extension": [{"url": "http://x", "valueOid": OID}]},
            {"extension": [{"url": "http://x", "valueOid": "Organization/2"}]},
        ),
        (
            "Patient",
            {"extension": [{"url": "http://x", "valueUuid": URN}]},
            {"extension": [{"url": "http://x", "valueUuid": "Patient/new"}]},
        ),
        ("Patient", {"extension": [{"url": "http://x", "valueCanonical": URN}]}, None),
        ("Patient", {"extension": [{"url": "http://x", "valueString": URN}]}, None),
        ("Patient", {"identifier": [{"system": "urn:ietf:rfc:3986", "value": URN}]}, None),
        ("Patient", {"identifier": [{"system": URN, "value": "1"}]}, {"identifier": [{"system": "Patient/new", "value": "1"}]}),
        ("DocumentReference", {"content": [{"attachment": {"url": URN}}]}, {"content": [{"attachment": {"url": "Patient/new"}}]}),
        ("PlanDefinition", {"instantiatesUri": [URN]}, None),
        ("CarePlan", {"instantiatesUri": [URN, "http://x"]}, {"instantiatesUri": ["Patient/new", "http://x"]}),
        ("CarePlan", {"instantiatesCanonical": [URN]}, None),
        (
            "Patient",
            {"text": {"status": "generated", "div": f"<div><a href=\"{URN}\">p</a><img src='{OID}'/>{URN}</div>"}},
            {"text": {"status": "generated", "div": f"<div><a href=\"Patient/new\">p</a><img src='Organization/2'/>{URN}</div>"}},
        ),
        (
            "Patient",
            {"contained": [{"resourceType": "CarePlan", "id": "c", "instantiatesUri": [URN], "subject": {"reference": URN}}]},
            {
                "contained": [
                    {
                        "resourceType": "CarePlan",
                        "id": "c",
                        "instantiatesUri": ["Patient/new"],
                        "subject": {"reference": "Patient/new"},
                    }
                ]
            },
        ),
        (
            "Patient",
            {"_birthDate": {"extension": [{"url": "http://x", "valueUri": URN}]}},
            {"_birthDate": {"extension": [{"url": "http://x", "valueUri": "Patient/new"}]}},
        ),
    ],
)
def test_elements_by_their_type(type: str, document: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """uri, url, oid, uuid and the narrative's links are replaced; canonical, string and plain text are not."""
    assert rewritten(type, document) == (expected or document)


def test_the_rest_of_the_bytes_stays() -> None:
    """White space, digits and order around a replaced reference are the client's."""
    body = (
        b'{"resourceType":"Observation",\n  "valueQuantity": {"value": 72.50},  "subject" : { "reference"  :  "%b" }}'
        % URN.encode()
    )
    made = links()
    assert rewrite("Observation", body, made.lookup(""), made.needles()) == body.replace(URN.encode(), b"Patient/new")


def test_digits_survive_the_slow_way() -> None:
    """Where a document has to be encoded again its decimals keep their digits."""
    body = (
        b'{"resourceType":"Observation","instantiatesCanonical":"a","implicitRules":"%b","valueQuantity":{"value":72.50}}'
        % URN.encode()
    )
    made = links()
    assert b"72.50" in rewrite("Observation", body, made.lookup(""), made.needles())


@pytest.mark.parametrize(
    "spelling",
    [
        f'"valueUri":"{URN}"',
        '"valueUri":"urn\\u003auuid:01a4bf64-666d-0977-f60a-82990578f122"',
        '"valueUri":"http:\\/\\/other.example.org\\/fhir/Patient/7"',
        '"valueReference":{"reference":"\\u0075rn:oid:1.2.3.4"}',
        '"valueReference":{"\\u0072eference":"urn:oid:1.2.3.4"}',
    ],
)
def test_escapes_hide_no_link(spelling: str) -> None:
    """A link is replaced whichever of its characters are written as escapes, beside a narrative with escaped tags too."""
    text = '"text":{"status":"generated","div":"\\u003cdiv xmlns=\\"http://www.w3.org/1999/xhtml\\"\\u003ex\\u003c\\/div\\u003e"}'
    body = f'{{"resourceType":"Patient",{text},"extension":[{{"url":"http://x",{spelling}}}]}}'.encode()
    made = links()
    [extension] = json.loads(rewrite("Patient", body, made.lookup(""), made.needles()))["extension"]
    assert extension.get("valueUri", extension.get("valueReference", {}).get("reference")) in (
        "Patient/new",
        "Patient/8",
        "Organization/2",
    )


def test_escapes_without_links_are_left() -> None:
    """The bytes of a document without links are the same object, whatever is escaped in its narrative."""
    body = b'{"resourceType":"Patient","text":{"status":"generated","div":"\\u003cdiv\\u003ea \\u0026amp; b\\u003c\\/div\\u003e"}}'
    made = links()
    assert rewrite("Patient", body, made.lookup(""), made.needles()) is body


def test_criteria_are_found_once_each_place() -> None:
    """References by criteria are told from other references, also where their slashes are escaped."""
    body = b'{"resourceType":"Encounter","a":[{"reference":"Practitioner?identifier=1"},{"reference":"Patient/1"}]}'
    assert list(criteria_in(body)) == ["Practitioner?identifier=1"]
    escaped = b'{"a":{"reference":"Practitioner?identifier=http:\\/\\/x|1"}}'
    assert set(criteria_in(escaped)) == {BY_CRITERIA}


def test_places_and_what_is_left() -> None:
    """An error can name the place of a reference, and references to absent entries are seen."""
    body = json.dumps({"resourceType": "Encounter", "participant": [{}, {"individual": {"reference": URN}}]}).encode()
    assert place_of(body, URN) == ".participant[1].individual.reference"
    assert unresolved(body) == URN
    assert unresolved(b'{"resourceType":"Patient","identifier":[{"system":"urn:ietf:rfc:3986"}]}') == ""
