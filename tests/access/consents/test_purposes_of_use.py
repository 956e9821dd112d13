"""What a request is for: purposes that Consents name, what each role's requests may be for, and breaking the glass."""

from collections.abc import Mapping
from uuid import uuid4

import pytest
from access.comparing import next_link
from access.consents.consenting import ALL, OF_P, REASONS, Agree, broken, of_class, seen
from access.worlds import Ask, World


def test_what_a_request_is_for(world: World, agree: Agree) -> None:
    """A denial for a purpose holds for all that is part of it, and not for others; what is no purpose is refused."""
    agree({"type": "deny", "purpose": [{"system": REASONS, "code": "HRESCH"}]})
    assert seen(world, "ann", "TREAT") == ALL
    assert seen(world, "ann", f"{REASONS}|COC") == ALL
    for purpose in ("CLINTRCH", f"{REASONS}|HRESCH"):
        assert seen(world, "service", purpose) == seen(world, "analyst", purpose) == ALL - OF_P
    assert seen(world, "analyst") == ALL - OF_P
    assert seen(world, "service") == ALL
    for wrong in ("NOSUCH", "urn:x|TREAT", "treat", "<b>"):
        assert world.ask("ann", Ask("", "GET", "Patient/p", headers={"Purpose-Of-Use": wrong})).status == 400


PURPOSES: Mapping[str, set[str]] = {
    "ann": {"TREAT", "CLINTRL", "ETREAT", "ERTREAT", "BTG"},
    "analyst": {"HRESCH", "CLINTRCHPC"},
    "auditor": {"HOPERAT", "CAREMGT", "HTEST", "HPAYMT", "ENROLLM"},
    "patient": {"PATRQT", "FAMRQT"},
    "parent": {"PATRQT", "FAMRQT"},
    "service": {"HOPERAT", "CAREMGT", "HTEST", "HPAYMT", "ENROLLM", "HRESCH", "CLINTRCHPC", "PUBHLTH", "THREAT", "HMARKT"},
}


@pytest.mark.parametrize("caller", PURPOSES)
def test_whose_requests_are_for_what(world: World, caller: str) -> None:
    """Each role's requests are for what it works for, and for nothing that is not; 403 says so, and nothing is shown."""
    for purpose in sorted(set().union(*PURPOSES.values())):
        told = world.ask(caller, Ask("", "GET", "Patient/p", headers={"Purpose-Of-Use": purpose}))
        assert told.status == (200 if purpose in PURPOSES[caller] else 403), purpose
        if told.status == 403:
            assert purpose in told.json()["issue"][0]["diagnostics"]


def test_practitioners_break_the_glass(world: World, agree: Agree) -> None:
    """With Purpose-Of-Use: BTG a practitioner sees what consents keep; the AuditEvent says so, with the reason, and auditors find it."""
    agree({"type": "deny"})
    assert world.get("ann", "Observation/p1").status == 404
    why = f"unconscious in the emergency room {uuid4().hex}"
    assert broken(world, "ann", "Observation/p1", X_Purpose_Of_Use="BTG", Purpose_Of_Use_Reason=why).status == 200
    assert world.get("ann", "Observation/p1").status == 404, "the next request is an ordinary one"
    flagged = "AuditEvent?subtype=http://dicom.nema.org/resources/ontology/DCM|110127&_sort=-date&_count=50"
    events = [entry["resource"] for entry in world.get("auditor", flagged).json()["entry"]]
    [event] = [each for each in events if each["purposeOfEvent"][0].get("text") == why]
    assert event["purposeOfEvent"][0]["coding"] == [{"system": REASONS, "code": "BTG", "display": "break the glass"}]
    assert {coding["code"] for coding in event["subtype"]} == {"110127", "read"}
    assert any(entity["what"].get("reference", "").startswith("Observation/p1") for entity in event["entity"])
    assert {"reference": "Practitioner/ann"}.items() <= next(a["who"] for a in event["agent"] if a["requestor"]).items()


def test_breaking_the_glass_counts_for_a_whole_bundle(world: World, agree: Agree) -> None:
    """A batch that breaks the glass does so in all its entries, and each is recorded as such."""
    agree({"type": "deny"})
    reads = [{"request": {"method": "GET", "url": url}} for url in ("Observation/p1", "Condition/pc")]
    why = uuid4().hex
    for kind in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": reads}
        answer = world.ask("ann", Ask("", "POST", "", bundle, {"Purpose-Of-Use": "BTG", "Purpose-Of-Use-Reason": why})).json()
        assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["200", "200"], answer
    flagged = world.get("auditor", "AuditEvent?subtype=110127&_sort=-date&_count=50").json()["entry"]
    said = [entry["resource"] for entry in flagged if entry["resource"]["purposeOfEvent"][0].get("text") == why]
    assert len([event for event in said if any(coding["code"] == "read" for coding in event["subtype"])]) == 4


@pytest.mark.parametrize("caller", ["patient", "parent", "service", "everything", "analyst", "auditor"])
def test_nobody_else_breaks_the_glass(world: World, caller: str) -> None:
    """403 for patients, backends and other roles, whatever they would see anyway; the attempt is recorded."""
    why = uuid4().hex
    told = broken(world, caller, "Patient/q", Purpose_Of_Use="BTG", Purpose_Of_Use_Reason=why)
    assert told.status == 403
    assert told.json()["issue"][0]["code"] == "forbidden"
    refused = world.get("auditor", "AuditEvent?subtype=110127&outcome=4&_sort=-date&_count=50").json()["entry"]
    assert any(entry["resource"]["purposeOfEvent"][0].get("text") == why for entry in refused)


def test_breaking_the_glass_widens_no_scope(world: World) -> None:
    """It opens what patients keep, not what the token never had."""
    assert broken(world, "launched", "Patient/q", Purpose_Of_Use="BTG").status in (403, 404)


@pytest.mark.parametrize("purpose", ["ETREAT", "ERTREAT"])
def test_emergency_treatment_is_recorded_as_an_emergency(world: World, agree: Agree, purpose: str) -> None:
    """A patient may make an exception for emergencies: who says that there is one is recorded like who breaks the glass."""
    agree({"type": "deny", "provision": [{"type": "permit", "purpose": [{"system": REASONS, "code": "ETREAT"}]}]})
    agree({"type": "deny", "class": of_class("Condition")})
    why = uuid4().hex
    told = {name: broken(world, "ann", name, Purpose_Of_Use=purpose, Purpose_Of_Use_Reason=why).status for name in sorted(OF_P)}
    assert told == {**dict.fromkeys(sorted(OF_P), 200), "Condition/pc": 404}, "it is no way past other denials"
    assert world.get("ann", "Observation/p1").status == 404
    flagged = world.get("auditor", "AuditEvent?subtype=110127&_sort=-date&_count=50").json()["entry"]
    assert len([each for each in flagged if each["resource"]["purposeOfEvent"][0].get("text") == why]) == len(OF_P)


def test_auditors_see_all_accesses(world: World, agree: Agree) -> None:
    """The record of accesses to a patient who opted out is whole."""
    before = world.get("auditor", "AuditEvent?patient=Patient/p&_summary=count").json()["total"]
    agree({"type": "deny"})
    assert world.get("auditor", "AuditEvent?patient=Patient/p&_summary=count").json()["total"] >= before > 0


@pytest.mark.parametrize(
    "search", ["Observation?_count=1", "Patient?_count=1&_revinclude=Observation:subject", "_history?_count=1"]
)
def test_a_page_link_is_good_for_the_purpose_it_was_made_for(world: World, search: str) -> None:
    """The link of a page that was shown because the glass was broken is followed by breaking it again, and by no ordinary request."""
    told = world.ask("ann", Ask("", "GET", search, headers={"Purpose-Of-Use": "BTG"}))
    link = next_link(told)
    assert link is not None
    assert world.get("ann", link).status == 400
    assert world.ask("ann", Ask("", "GET", link, headers={"Purpose-Of-Use": "BTG"})).status == 200
    plain = next_link(world.get("ann", search))
    assert plain is not None
    assert world.ask("ann", Ask("", "GET", plain, headers={"Purpose-Of-Use": "TREAT"})).status == 200, "what it is for anyway"
