"""A SMART app made with fhirclient (https://github.com/smart-on-fhir/client-js), in Chromium, as its users and their EHR start it."""

from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
from browser.conftest import needs_chromium
from browser.running import PASSWORD, Guarded, prepared
from playwright.sync_api import Page, expect
from robustness.running import Server

pytestmark = needs_chromium

SCOPES = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs patient/Condition.rs"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with sign-in, started once for these tests."""
    with Server(tmp_path_factory.mktemp("browser") / "data", "--auth", "smart", "--sample-data") as server:
        yield prepared(server)


@pytest.fixture(scope="module")
def client(guarded: Guarded, app: str) -> str:
    """The app, registered as public."""
    made = guarded.client(
        "--name", "Heart Diary", "--type", "public", "--redirect-uri", f"{app}/index.html", "--launch-uri", f"{app}/launch.html",
        "--scope", f"{SCOPES} launch launch/encounter user/*.rs patient/*.rs",
    )  # fmt: skip
    return str(made["client_id"])


def begin(page: Page, app: str, guarded: Guarded, client: str, scopes: str = SCOPES) -> None:
    """Start the app without an EHR."""
    page.goto(f"{app}/launch.html?" + urlencode({"client": client, "scope": scopes, "server": guarded.server.base}))


def sign_in(page: Page, user: str) -> None:
    """Fill the form."""
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_a_patient_starts_the_app_and_takes_access_away(page: Page, app: str, guarded: Guarded, client: str) -> None:
    """[B2, C1, C8, E7, F8] Sign-in, consent, data shown, refresh; then the patient ends it, and nothing works any more."""
    begin(page, app, guarded, client)
    sign_in(page, "pat")
    expect(page.get_by_role("heading", name="Heart Diary asks for access")).to_be_visible()
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_title("Ready")
    family = guarded.get(f"Patient/{guarded.patient}")["name"][0]["family"]
    expect(page.locator("#name")).to_contain_text(family)
    expect(page.locator("#observations li")).to_have_count(3)
    expect(page.locator("#user")).to_contain_text(f"Patient/{guarded.patient}")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#done")).to_have_text("another token")
    page.get_by_role("button", name="Read again").click()
    expect(page.locator("#done")).to_have_text("200")

    account = page.context.new_page()
    account.goto(f"{guarded.server.url}/account")
    account.get_by_role("button", name="End the access of Heart Diary").click()
    expect(account.get_by_role("button", name="End the access of Heart Diary")).to_have_count(0)
    page.get_by_role("button", name="Read again").click()
    expect(page.locator("#done")).to_have_text("401")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#done")).to_contain_text("failed")


def test_what_is_unticked_is_not_granted(page: Page, app: str, guarded: Guarded, client: str) -> None:
    """[B7] The app gets what the patient left ticked, word for word."""
    begin(page, app, guarded, client)
    sign_in(page, "pat")
    page.locator("input[name=scope][value='patient/Condition.rs']").uncheck()
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_title("Ready")
    granted = set((page.locator("#scope").text_content() or "").split())
    assert granted == set(SCOPES.split()) - {"patient/Condition.rs"}


def test_a_practitioner_chooses_the_patient(page: Page, app: str, guarded: Guarded, client: str) -> None:
    """[B9] The patient picker finds a patient by name, and the app gets that one."""
    patient = guarded.get(f"Patient/{guarded.patient}")
    begin(page, app, guarded, client)
    sign_in(page, "doc")
    page.get_by_label("Name, birth date").fill(patient["name"][0]["family"])
    page.get_by_role("button", name="Search").click()
    page.locator(f"button[name=patient][value='{guarded.patient}']").click()
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_title("Ready")
    expect(page.locator("#name")).to_contain_text(patient["name"][0]["family"])
    expect(page.locator("#user")).to_contain_text(f"Practitioner/{guarded.practitioner}")


def test_an_ehr_starts_the_app(page: Page, app: str, guarded: Guarded, client: str) -> None:
    """[B5, C12] The EHR says which patient and visit it is about; its user signs in and the app shows these."""
    visit = guarded.get(f"Encounter?patient={guarded.patient}&_count=1&_elements=id")["entry"][0]["resource"]["id"]
    ehr = guarded.command("token", "--scope", "system/*.rs smart/orchestrate_launch")
    answer = httpx.post(
        f"{guarded.server.url}/oauth/launch",
        json={"client_id": client, "patient": guarded.patient, "encounter": visit, "need_patient_banner": True},
        headers={"Authorization": f"Bearer {ehr}"},
    )
    assert answer.status_code == 201, answer.text
    opened = answer.json()["launch_url"]
    scopes = "launch openid fhirUser user/Patient.rs user/Observation.rs user/Encounter.rs"
    page.goto(opened + "&" + urlencode({"client": client, "scope": scopes}))
    sign_in(page, "doc")
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_title("Ready")
    family = guarded.get(f"Patient/{guarded.patient}")["name"][0]["family"]
    expect(page.locator("#name")).to_contain_text(family)
    expect(page.locator("#encounter")).to_have_text(visit)


def test_a_refusal_reaches_the_app(page: Page, app: str, guarded: Guarded, client: str) -> None:
    """[B4] Who refuses sends the app an error that it can show."""
    begin(page, app, guarded, client)
    sign_in(page, "pat")
    page.get_by_role("button", name="Refuse").click()
    expect(page).to_have_title("Failed")
    expect(page.locator("#done")).to_contain_text("access_denied")
