"""Which Consents of a patient keep what from whom, and from when until when (https://hl7.org/fhir/R4/consent.html)."""

import time
from collections.abc import Mapping

import pytest
from access.consents.consenting import ALL, LABS, OF_P, REASONS, SENSITIVE, Agree, Json, actor, consent, of_class, put, seen
from access.worlds import Ask, World

from fhir_server.access import following
from resources.instants import instant_text, now

KEPT = following.CHECKED
WITHIN = 1.0
"""Seconds after which a Consent counts in every process."""

ROWS: list[tuple[str, Json | None, Mapping[str, set[str]]]] = [
    ("deny all", {"type": "deny"}, {"ann": OF_P, "bob": OF_P, "service": OF_P, "launched": OF_P, "patient": set()}),
    ("permit all", {"type": "permit"}, {"ann": set(), "service": set()}),
    ("no provision", None, {"ann": set()}),
    (
        "deny one practitioner",
        {"type": "deny", "actor": [actor("Practitioner/ann")]},
        {"ann": OF_P, "bob": set(), "service": set()},
    ),
    (
        "deny an absolute reference",
        {"type": "deny", "actor": [actor("http://records.test/fhir/Practitioner/ann")]},
        {"ann": OF_P, "bob": set()},
    ),
    ("deny an organization", {"type": "deny", "actor": [actor("Organization/clinic")]}, {"ann": set(), "bob": OF_P}),
    ("deny a role", {"type": "deny", "actor": [actor("PractitionerRole/bob-at-clinic")]}, {"ann": set(), "bob": OF_P}),
    (
        "deny a client",
        {"type": "deny", "actor": [{**actor(""), "reference": {"identifier": {"value": "service"}}}]},
        {"ann": set(), "service": OF_P, "everything": set()},
    ),
    (
        "deny a group",
        {"type": "deny", "actor": [actor("Group/whoever")]},
        {"ann": OF_P, "service": OF_P},
    ),
    ("deny a class", {"type": "deny", "class": of_class("Observation")}, {"ann": LABS, "patient": set()}),
    ("deny another kind of class", {"type": "deny", "class": [{"system": "urn:x", "code": "Observation"}]}, {"ann": OF_P}),
    ("deny a class that can hold anything", {"type": "deny", "class": of_class("Bundle")}, {"ann": OF_P, "patient": set()}),
    ("deny a class that is nobody's", {"type": "deny", "class": of_class("Practitioner")}, {"ann": set()}),
    (
        "deny all but a class that can hold anything",
        {"type": "deny", "provision": [{"type": "permit", "class": of_class("Condition", "Bundle")}]},
        {"ann": OF_P},
    ),
    ("deny a label", {"type": "deny", "securityLabel": [SENSITIVE]}, {"ann": {"Observation/p2"}, "patient": set()}),
    (
        "deny one document",
        {"type": "deny", "data": [{"meaning": "instance", "reference": {"reference": "Observation/p1"}}]},
        {"ann": {"Observation/p1"}},
    ),
    (
        "deny what belongs to a document",
        {"type": "deny", "data": [{"meaning": "dependents", "reference": {"reference": "Observation/p1"}}]},
        {"ann": OF_P},
    ),
    ("deny research", {"type": "deny", "purpose": [{"system": REASONS, "code": "HRESCH"}]}, {"ann": set(), "analyst": OF_P}),
    ("deny a purpose of another system", {"type": "deny", "purpose": [{"system": "urn:x", "code": "x"}]}, {"ann": OF_P}),
    ("deny a purpose that is none", {"type": "deny", "purpose": [{"system": REASONS, "code": "NONE"}]}, {"ann": OF_P}),
    (
        "deny all but operations",
        {"type": "deny", "provision": [{"type": "permit", "purpose": [{"system": REASONS, "code": "HOPERAT"}]}]},
        {"ann": OF_P, "analyst": OF_P, "service": set()},
    ),
    ("deny in the past", {"type": "deny", "period": {"end": "2020"}}, {"ann": set()}),
    ("deny in the future", {"type": "deny", "period": {"start": "2120-01"}}, {"ann": set()}),
    ("deny now", {"type": "deny", "period": {"start": "2020", "end": "2120-12-31"}}, {"ann": OF_P}),
    ("deny codes", {"type": "deny", "code": [{"text": "anything"}]}, {"ann": OF_P}),
    (
        "deny all but for one",
        {"type": "deny", "provision": [{"type": "permit", "actor": [actor("Practitioner/bob")]}]},
        {"ann": OF_P, "bob": set()},
    ),
    (
        "deny all but for one, by name only",
        {"type": "deny", "provision": [{"type": "permit", "actor": [{**actor(""), "reference": {"display": "Bob"}}]}]},
        {"ann": OF_P, "bob": OF_P},
    ),
    (
        "deny all but a class",
        {"type": "deny", "provision": [{"type": "permit", "class": of_class("Condition")}]},
        {"ann": OF_P - {"Condition/pc"}},
    ),
    (
        "deny all but what is labelled",
        {"type": "deny", "provision": [{"type": "permit", "securityLabel": [SENSITIVE]}]},
        {"ann": OF_P - {"Observation/p2"}},
    ),
    (
        "permit with exceptions",
        {
            "type": "permit",
            "provision": [{"type": "deny", "class": of_class("Condition")}, {"type": "deny", "securityLabel": [SENSITIVE]}],
        },
        {"ann": {"Condition/pc", "Observation/p2"}, "patient": set()},
    ),
    (
        "permit with an exception that has one",
        {
            "type": "permit",
            "provision": [
                {
                    "type": "deny",
                    "class": of_class("Observation"),
                    "provision": [{"type": "permit", "actor": [actor("Practitioner/ann")]}],
                }
            ],
        },
        {"ann": set(), "bob": LABS},
    ),
    (
        "exceptions without a base",
        {"provision": [{"type": "deny", "actor": [actor("Practitioner/ann")]}]},
        {"ann": OF_P, "bob": set()},
    ),
    ("a relative by name", {"type": "deny", "actor": [actor("RelatedPerson/parent")]}, {"parent": OF_P, "ann": set()}),
    ("everybody but relatives", {"type": "deny"}, {"parent": set()}),
]


@pytest.mark.parametrize(("provision", "kept"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_kept_from_whom(world: World, agree: Agree, provision: Json | None, kept: Mapping[str, set[str]]) -> None:
    """Reads, searches and totals show all but what the Consent denies; of the other patient nothing is missing."""
    before = {caller: seen(world, caller) for caller in kept}
    agree(provision)
    for caller, missing in kept.items():
        assert before[caller] - seen(world, caller) == missing & before[caller], caller


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"policyRule": {"coding": [{"code": "OPTOUT"}]}}, OF_P),
        ({"status": "inactive", "provision": {"type": "deny"}}, set()),
        ({"status": "draft", "provision": {"type": "deny"}}, set()),
        ({"scope": {"coding": [{"code": "research"}]}, "provision": {"type": "deny"}}, set()),
        ({"patient": {"reference": "http://elsewhere.test/fhir/Patient/p"}, "provision": {"type": "deny"}}, set()),
    ],
)
def test_which_consents_count(world: World, agree: Agree, more: Json, missing: set[str]) -> None:
    """Active ones about privacy, of a patient of this server; opting out is their base rule where the provision does not say."""
    agree(more.get("provision"), **{name: value for name, value in more.items() if name != "provision"})
    assert ALL - seen(world, "ann") == missing


def test_two_patients_and_two_consents(world: World, agree: Agree) -> None:
    """Every Consent counts for itself: what one of them denies, another one does not bring back."""
    agree({"type": "deny", "class": of_class("Observation")})
    agree({"type": "permit"})
    agree({"type": "deny", "securityLabel": [SENSITIVE]}, of="q")
    assert ALL - seen(world, "ann") == {*LABS, "Observation/q2"}


BASE = "http://records.test/fhir"
STANDING: list[tuple[str, Json, bool]] = [
    ("relative", {}, True),
    ("absolute", {"practitioner": {"reference": f"{BASE}/Practitioner/ann"}}, True),
    ("absolute organization", {"organization": {"reference": f"{BASE}/Organization/clinic"}}, True),
    ("versioned", {"organization": {"reference": "Organization/clinic/_history/1"}}, True),
    ("lasting", {"period": {"start": "2020", "end": "2120"}}, True),
    ("ended", {"period": {"end": "2020"}}, False),
    ("to come", {"period": {"start": "2120-01-01"}}, False),
    ("inactive", {"active": False}, False),
    ("elsewhere", {"organization": {"reference": "http://elsewhere.test/fhir/Organization/clinic"}}, False),
]


@pytest.mark.parametrize(("more", "works"), [row[1:] for row in STANDING], ids=[row[0] for row in STANDING])
def test_who_works_for_whom(world: World, agree: Agree, more: Json, works: bool) -> None:
    """A PractitionerRole counts however its references are written, while it is active and its period lasts: for a denial as for an
    exception to one."""
    plain = {"practitioner": {"reference": "Practitioner/ann"}, "organization": {"reference": "Organization/clinic"}}
    assert put(world, {"resourceType": "PractitionerRole", "id": "ann", **plain, **more}).status in (200, 201)
    clinic = [actor("Organization/clinic")]
    agree({"type": "deny", "class": of_class("Observation"), "actor": clinic})
    agree({"type": "deny", "class": of_class("Condition"), "provision": [{"type": "permit", "actor": clinic}]})
    try:
        assert ALL - seen(world, "ann") == (LABS if works else {"Condition/pc"})
    finally:
        assert world.ask("everything", Ask("", "DELETE", "PractitionerRole/ann")).status == 204


def test_who_has_too_many_consents_keeps_everything(world: World, agree: Agree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of Consents that deny something the whole record is kept from everybody but the patient; fewer count each."""
    monkeypatch.setattr(following, "MOST_CONSENTS", 3)
    for _ in range(3):
        agree({"type": "deny", "class": of_class("Condition"), "actor": [actor("Practitioner/ann")]})
        agree({"type": "permit"})
    assert ALL - seen(world, "ann") == {"Condition/pc"}
    agree({"type": "deny", "class": of_class("Condition"), "actor": [actor("Practitioner/ann")]})
    for caller in ("ann", "bob", "service", "parent"):
        assert not seen(world, caller) & OF_P, caller
    assert seen(world, "patient") >= OF_P


def test_a_consent_counts_within_a_second(world: World, agree: Agree, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts, changes and ends in every process within a second of the answer that it is stored, changed or deleted."""
    monkeypatch.setattr(following, "CHECKED", KEPT)
    assert world.get("ann", "Patient/p").status == 200
    id = agree({"type": "deny"})
    time.sleep(WITHIN)
    assert world.get("ann", "Patient/p").status == 404
    assert put(world, consent(id, {"type": "permit"})).status == 200
    time.sleep(WITHIN)
    assert world.get("ann", "Patient/p").status == 200
    assert 0 < KEPT < WITHIN


def test_a_period_ends_within_a_second(world: World, agree: Agree) -> None:
    """What is denied until a moment is shown again a second after it, without anything being written."""
    for seconds in (1, 4, 16):
        until = (now() // 1_000 + seconds * 1_000) * 1_000  # whole milliseconds, as the Consent says it
        agree({"type": "deny", "period": {"end": instant_text(until)}})
        denied = world.get("ann", "Patient/p").status
        if now() < until:
            break  # a machine that is slower than that shows nothing of it
    assert denied == 404
    time.sleep(max(0.0, (until - now()) / 1e6 + WITHIN + 0.1))
    assert world.get("ann", "Patient/p").status == 200
