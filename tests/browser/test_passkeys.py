"""Passkeys in a real browser, whose authenticator is Chromium's virtual one (WebAuthn over the DevTools protocol)."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser.conftest import PATIENCE, needs_chromium
from people import PASSWORD, People, people
from playwright.sync_api import BrowserContext, CDPSession, Page, expect

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server with people; passkeys belong to names, so browsers come to `localhost`."""
    with people(tmp_path_factory.mktemp("passkeys"), 20) as made:
        yield made


class Key:
    """A security key that is plugged into the browser."""

    def __init__(self, page: Page) -> None:
        self.tools: CDPSession = page.context.new_cdp_session(page)
        self.tools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "usb", "hasResidentKey": False, "hasUserVerification": True, "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }  # fmt: skip
        self.id: str = self.tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    @property
    def credentials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tools.send("WebAuthn.getCredentials", {"authenticatorId": self.id})["credentials"]
        return found


def root(here: People) -> str:
    return here.running.root.replace("127.0.0.1", "localhost")


def sign_in(here: People, page: Page, name: str) -> None:
    page.goto(f"{root(here)}/oauth/sign-in")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def add(here: People, page: Page, label: str = "Blue key") -> None:
    page.goto(f"{root(here)}/account/second-factor")
    page.get_by_label("What to call it").fill(label)
    page.get_by_role("button", name="Add a passkey").click()


def with_key(here: People, page: Page) -> tuple[str, Key]:
    """A user who has added a passkey, and signed out."""
    name, key = here.user(), Key(page)
    sign_in(here, page, name)
    add(here, page)
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    page.context.clear_cookies()
    return name, key


def test_a_passkey_as_second_factor(here: People, page: Page) -> None:
    """Added at the account page, asked for after the password, listed, and removed."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    name, key = with_key(here, page)
    assert len(key.credentials) == 1 and key.credentials[0]["rpId"] == "localhost"
    sign_in(here, page, name)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    expect(page.get_by_text("Blue key")).to_be_visible()
    page.get_by_role("button", name="Remove the passkey Blue key").click()
    expect(page.get_by_text("None yet: whoever knows your password can sign in.")).to_be_visible()
    assert problems == []


def test_one_key_counts_as_one(here: People, page: Page) -> None:
    """The same key cannot be added twice; where it is gone, the page says that nothing was chosen."""
    name, key = with_key(here, page)
    sign_in(here, page, name)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    add(here, page)
    expect(page.get_by_text("This device is one of your passkeys already.")).to_be_visible()
    key.tools.send("WebAuthn.clearCredentials", {"authenticatorId": key.id})
    sign_in(here, page, name)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("Nothing was chosen, or it took too long. Try again.")).to_be_visible()


def test_without_scripts(here: People, page: Page, browser_context: BrowserContext) -> None:
    """Without JavaScript the page says what to do, and a recovery code signs in."""
    name, key = here.user(), Key(page)
    sign_in(here, page, name)
    add(here, page)
    codes = page.locator("ul.codes code").all_inner_texts()
    assert len(codes) == 10 and len(key.credentials) == 1
    browser = browser_context.browser
    assert browser is not None
    with browser.new_context(java_script_enabled=False) as plain:
        plain.set_default_timeout(PATIENCE)
        page = plain.new_page()
        sign_in(here, page, name)
        expect(page.get_by_text("Passkeys need JavaScript, which is off in this browser.")).to_be_visible()
        page.get_by_label("Recovery code").fill(codes[0])
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
