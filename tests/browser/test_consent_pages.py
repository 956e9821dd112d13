"""Sign-in, the choice of a patient and consent in a real browser: nothing that its policies forbid, nothing that needs a script."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest
from browser.conftest import PATIENCE, needs_chromium
from granting import APPS, PASSWORD, granting
from playwright.sync_api import Browser, Page, expect

pytestmark = needs_chromium

ASKED = "launch/patient launch/encounter offline_access patient/Patient.rs patient/Observation.rs"


class _App(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the app")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test that fails says what it missed."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The root of a server, and the address of an app on another origin that its apps are registered with."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _App) as app:
        thread = Thread(target=app.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        back = f"http://127.0.0.1:{app.server_port}/back"
        apps = [msgspec.structs.replace(each, redirect_uris=(back,)) for each in APPS]
        with granting(tmp_path_factory.mktemp("pages"), apps=apps) as running:
            yield running.root, back
        app.shutdown()
        thread.join()


class Visitor:
    """Somebody at a browser, with what the browser complains of. `scripts`: whether it runs any."""

    def __init__(self, chromium: Browser, places: tuple[str, str], *, scripts: bool = True) -> None:
        self.root, self.back = places
        self.context = chromium.new_context(java_script_enabled=scripts)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))

    def begin(self, scope: str, user: str, client: str = "public") -> None:
        """From the app to the sign-in page, and in."""
        asked = {
            "response_type": "code", "client_id": client, "redirect_uri": self.back, "scope": scope, "state": "st",
            "aud": f"{self.root}/fhir", "code_challenge": "A" * 43, "code_challenge_method": "S256",
        }  # fmt: skip
        self.page.goto(f"{self.root}/oauth/authorize?{urlencode(asked)}")
        self.page.get_by_label("User name").fill(user)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()

    def told(self) -> dict[str, list[str]]:
        """What the app is told, once the browser is there. Fails where the browser has complained of anything."""
        self.page.wait_for_url(f"{self.back}**")
        assert self.complaints == []
        return parse_qs(urlsplit(self.page.url).query)


@pytest.fixture(params=[True, False], ids=["scripts", "no-scripts"])
def visitor(request: pytest.FixtureRequest, chromium: Browser, places: tuple[str, str]) -> Iterator[Visitor]:
    one = Visitor(chromium, places, scripts=request.param)
    yield one
    one.context.close()


def test_a_doctor_picks_a_patient_and_grants_a_part(visitor: Visitor) -> None:
    """[B8, B9] Search, choose, open the parts, tick one, allow: by the words that are on the pages, with and without JavaScript."""
    page = visitor.page
    visitor.begin(ASKED, "doc")
    page.get_by_label("Name, birth date").fill("smith")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_role("button", name="Choose Anna Smith").click()
    page.get_by_role("row", name="Check-up").get_by_role("button").click()
    expect(page.get_by_text("Anna Smith, born 1980-02-03")).to_be_visible(timeout=PATIENCE)
    assert page.url.startswith(f"{visitor.root}/oauth/consent?request=") and "anna" not in page.url
    page.get_by_text("Only a part of it").click()
    page.get_by_label("Laboratory results", exact=True).check()
    page.get_by_label("Stay connected until you end it").uncheck()
    page.get_by_role("button", name="Allow").click()
    assert visitor.told()["code"]
    page.goto(f"{visitor.root}/account")
    expect(page.get_by_text("See laboratory results of Anna Smith", exact=True).first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="End the access of Growth").click()
    expect(page.get_by_text("No app has access with your account")).to_be_visible(timeout=PATIENCE)
    assert visitor.complaints == []


def test_the_way_from_sign_in_straight_to_the_app(visitor: Visitor) -> None:
    """Where nobody needs to be asked the sign-in form itself leads to another origin, which its page's policy has to allow."""
    visitor.begin("openid patient/Patient.rs", "anna", "own")
    assert visitor.told()["code"]


def test_refusing(visitor: Visitor) -> None:
    """The app hears that it was refused."""
    visitor.begin("openid", "anna")
    visitor.page.get_by_role("button", name="Refuse").click()
    assert visitor.told()["error"] == ["access_denied"]
