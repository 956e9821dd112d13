"""The choice of a patient and of a visit for apps that are not started from a record."""

import time
from collections.abc import Iterator

import pytest
from access.consents.consenting import OPT_OUT, actor, consent
from api.conftest import Running
from granting import DOCUMENTS, Browser, Form, answered, granting, scopes, shows

from fhir_server.access.following import CHECKED

ASKED = "launch/patient patient/Patient.rs patient/Observation.rs"


OPTED_OUT = consent("carl", None, "dora", policyRule=OPT_OUT)
AWAY = consent("erna", {"type": "deny", "actor": [actor(each) for each in ("RelatedPerson/of-erna", "Practitioner/doc")]}, "erna")
HIDDEN = (
    {"resourceType": "Patient", "id": "dora", "name": [{"family": "Smith"}]},
    OPTED_OUT,
    {"resourceType": "Patient", "id": "erna", "name": [{"family": "Away"}]},
    {"resourceType": "RelatedPerson", "id": "of-erna", "patient": {"reference": "Patient/erna"}},
    AWAY,
)
OF_ERNA = {"target": {"reference": "RelatedPerson/of-erna"}}
SHOWN = tuple({**each, "link": [*each["link"], OF_ERNA]} if each["resourceType"] == "Person" else each for each in DOCUMENTS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with granting(tmp_path_factory.mktemp("picker"), documents=(*SHOWN, *HIDDEN)) as running:
        time.sleep(2 * CHECKED)  # from then on the consent counts
        yield running


@pytest.fixture
def browser(running: Running) -> Browser:
    return Browser(running.root)


def shown(page: object) -> set[str]:
    """The patients on the page."""
    return {value for name, value in Form(page).buttons if name == "patient"}  # type: ignore[arg-type]


def test_a_practitioner_picks_a_patient(browser: Browser) -> None:
    """[B9, C11] The picker shows patients; the token is for the one that was picked, and for nobody else."""
    page = browser.asked(ASKED, "doc")
    assert page.url.path == "/oauth/patient" and shown(page) == {"anna", "bert", "carl"}
    consent = browser.choose(page, patient="anna")
    assert "of Anna Smith" in consent.text and "born 1980-02-03" in consent.text
    tokens = browser.redeem(browser.decide(consent))
    assert tokens["patient"] == "anna"
    assert browser.read("Patient/anna", tokens["access_token"]).status_code == 200
    assert browser.read("Patient/bert", tokens["access_token"]).status_code in (403, 404)


@pytest.mark.parametrize("asked", ["patient/Patient.rs", "launch/patient?role=guardian patient/Patient.rs", "launch/patient"])
def test_scopes_that_need_a_patient(browser: Browser, asked: str) -> None:
    """[B9] Scopes about one patient lead to the picker too, with or without launch/patient."""
    tokens = browser.redeem(browser.decide(browser.choose(browser.asked(asked, "doc"), patient="bert")))
    assert tokens["patient"] == "bert" and scopes(tokens) == set(asked.split())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("smith", {"anna", "carl"}),
        ("Anna Smith", {"anna"}),
        ("SMITH anna", {"anna"}),
        ("1990-04-05", {"bert"}),
        ("MRN-1", {"anna"}),
        ("carl", {"carl"}),
        ("  anna  ", {"anna"}),
        ("", {"anna", "bert", "carl"}),
        ("nobody at all", set()),
        ("a,b|c$d\\e", set()),
        ("' OR 1=1 --", set()),
        ('{"$gt": ""}', set()),
        ("_id=anna&name=x", set()),
        ("x" * 5_000, set()),
        ("9999-99-99", set()),
        ("\x00\u202e", set()),
    ],
)
def test_searching(browser: Browser, text: str, found: set[str]) -> None:
    """[B9] Patients are found by words of their name, birth date, identifier and id; whatever else is typed finds nobody."""
    page = browser.choose(browser.asked(ASKED, "doc"), search=text)
    assert page.status_code == 200 and shown(page) == found
    assert "<script>alert" not in page.text


def test_names_are_no_markup_and_in_no_url(browser: Browser) -> None:
    """A name with a script in it is text, and what was searched for is shown again as text."""
    page = browser.choose(browser.asked(ASKED, "doc"), search='"><script>x</script>')
    assert "<script>" not in page.text and "&#34;&gt;&lt;script&gt;" in page.text
    assert "script" not in str(page.url)
    consent = browser.choose(browser.choose(page, search=""), patient="bert")
    assert "Bert &lt;script&gt;" in consent.text and "<script>" not in consent.text


@pytest.mark.parametrize("id", ["nobody", "", "../Patient/anna", "anna,bert", "anna|x", "a" * 65, "anna%00", "Patient/anna", "*"])
def test_picking_who_is_not_there(browser: Browser, id: str) -> None:
    """Ids that nobody has, or that are none, are refused alike, and the honest choice still works."""
    page = browser.asked(ASKED, "doc")
    refused = browser.choose(page, patient=id)
    assert refused.status_code == 403 and "There is no such patient, or not for you" in refused.text
    assert browser.choose(page, patient="anna").url.path == "/oauth/consent"


def test_a_patient_is_started_for_themselves(browser: Browser) -> None:
    """[B9, C11] Whoever is a patient is asked nothing, and cannot pick anybody else by sending the form."""
    page = browser.asked(ASKED, "anna")
    assert page.url.path == "/oauth/consent" and "(you)" in page.text
    picked = browser.choose(page, patient="bert")
    assert picked.url.path == "/oauth/consent" and "Anna Smith" in picked.text
    assert browser.redeem(browser.decide(picked))["patient"] == "anna"


def test_somebody_who_stands_for_several_patients(browser: Browser) -> None:
    """A Person who is linked to a patient's relative and to another patient chooses among these two, and reads the one chosen; a relative
    whose period has ended stands for nobody any more, and one from whom a patient keeps the record is not told of that patient."""
    page = browser.asked(ASKED, "rita")
    assert browser.choose(page, patient="erna").status_code == 403 and "Away" not in shows(page)
    assert shown(page) == {"bert", "carl"}
    assert browser.choose(page, patient="anna").status_code == 403
    consent = browser.choose(page, patient="carl")
    assert "of Carl Smith" in consent.text
    tokens = browser.redeem(browser.decide(consent))
    assert tokens["patient"] == "carl"
    assert browser.read("Patient/carl", tokens["access_token"]).status_code == 200
    assert browser.read("Patient/bert", tokens["access_token"]).status_code in (403, 404)


@pytest.mark.parametrize(("user", "sentence"), [("nobody", "not tied to a patient"), ("auditor", "user/Patient.rs")])
def test_who_cannot_start_apps_for_patients(browser: Browser, user: str, sentence: str) -> None:
    """An account without a record, and a role without patient/ scopes, get no patient."""
    page = browser.asked("patient/Patient.rs user/Patient.rs", user)
    assert sentence in page.text and not shown(page)


def test_a_visit_is_chosen(browser: Browser) -> None:
    """[B9, C12] launch/encounter shows the visits of the patient who was picked; the token names the one chosen."""
    page = browser.choose(browser.asked(f"{ASKED} launch/encounter patient/Encounter.rs", "doc"), patient="anna")
    assert "Check-up" in page.text and "2026-01-02" in page.text
    assert [value for name, value in Form(page).buttons if name == "encounter"] == ["visit", ""]
    assert browser.choose(page, encounter="other").status_code == 403
    tokens = browser.redeem(browser.decide(browser.choose(page, encounter="visit")))
    assert tokens["encounter"] == "visit" and "launch/encounter" in scopes(tokens)
    assert browser.read("Encounter/visit", tokens["access_token"]).status_code == 200


def test_no_visit_is_chosen(browser: Browser) -> None:
    """Without a visit the app is told of none, and is not granted launch/encounter."""
    asked = f"{ASKED} launch/encounter"
    page = browser.choose(browser.asked(asked, "doc"), patient="anna")
    tokens = browser.redeem(browser.decide(browser.choose(page, encounter="")))
    assert "encounter" not in tokens and scopes(tokens) == set(ASKED.split())
    other = Browser(browser.root)
    consent = other.choose(other.asked(asked, "doc"), patient="carl")
    assert consent.url.path == "/oauth/consent" and "launch/encounter" not in Form(consent).boxes


def test_the_picker_is_for_whoever_began(running: Running) -> None:
    """Without a sign-in it leads there; without its token, or for another user, it does nothing."""
    doc, chief = Browser(running.root), Browser(running.root)
    page = doc.asked(ASKED, "doc")
    asked = Form(page).hidden
    stranger = Browser(running.root).http.get("/oauth/patient", params={"request": asked["request"]})
    assert stranger.headers["location"] == f"/oauth/sign-in?request={asked['request']}"
    forged = asked | {"csrf": "", "patient": "bert"}
    assert doc.http.post("/oauth/patient", data=forged).status_code == 403
    consent = doc.choose(page, patient="anna")
    chief.sign_in(chief.http.get("/oauth/sign-in"), "chief")
    assert chief.http.get("/oauth/patient", params={"request": asked["request"]}).status_code == 403
    assert answered(doc.decide(consent))["code"]


def test_who_was_shown_is_recorded(browser: Browser) -> None:
    """The search of the picker is a search of the user's, in the audit too."""
    browser.choose(browser.asked(ASKED, "chief"), search="MRN-1")
    again = browser.asked("user/AuditEvent.rs", "chief")
    token = browser.redeem(browser.decide(again))["access_token"]
    events = browser.read("AuditEvent?_count=50&_sort=-date&subtype=search-type", token).json()["entry"]
    found = [event["resource"] for event in events if "chief" in str(event["resource"]["agent"])]
    assert any("Patient/anna" in str(event["entity"]) and "127.0.0.1" in str(event["agent"]) for event in found)


@pytest.mark.parametrize("user", ["doc", "desk"])
def test_who_must_not_be_seen_cannot_be_picked(browser: Browser, user: str) -> None:
    """A patient who has opted out is in no list, found by nothing that is typed, and refused like one that does not exist."""
    page = browser.asked(ASKED, user)
    assert "dora" not in shown(page)
    for text in ("dora", "Smith", ""):
        assert "dora" not in shows(browser.choose(page, search=text)).replace('value="dora"', "")
    refused = [browser.choose(page, patient=id) for id in ("dora", "nobody")]
    assert [each.status_code for each in refused] == [403, 403] and refused[0].text == refused[1].text


def test_what_was_allowed_for_one_patient_is_asked_for_another(browser: Browser) -> None:
    """A confidential app that was allowed Anna's record is not asked about again for her, and is for everybody else."""
    browser.decide(browser.choose(browser.asked(ASKED, "chief", "server"), patient="anna"))
    assert answered(browser.choose(browser.authorize(ASKED, "server"), patient="anna"))["code"]
    assert "asks for access" in browser.choose(browser.authorize(ASKED, "server"), patient="bert").text
