"""Every page and every form for people: forged requests, frames, sniffing, caches. The tables are the routes themselves."""

import re

import httpx
import pytest
from people import PASSWORD, SIGN_IN, Found, People

from smart_auth.people.routes import ROUTES
from smart_auth.routes import ROUTES as EVERY

POSTS = [row.path for row in ROUTES if row.method == "POST"]
GETS = [row.path for row in ROUTES if row.method == "GET"]
PAGES = [(row.method, row.path) for row in EVERY if row.page and not row.path.startswith("/oauth/static/")]
BEFORE = {SIGN_IN, "/oauth/reset", "/oauth/reset/password"}
"""Forms for whoever has not signed in."""


def prepared(crowd: People, path: str) -> tuple[httpx.Client, str, str]:
    """A browser in the state in which the form is sent, its address and the token that is right."""
    browser = crowd.browser()
    if path in BEFORE:
        return browser.http, browser.root, Found(browser.get(SIGN_IN).text).fields(SIGN_IN)["csrf"]
    if path.startswith("/oauth/second-factor"):
        browser.sign_in(crowd.needing())
        page = browser.get("/oauth/second-factor/set-up")
        return browser.http, browser.root, Found(page.text).fields("/oauth/second-factor/set-up")["csrf"]
    page = browser.entered(crowd.user()).get("/account")
    return browser.http, browser.root, Found(page.text).fields("/oauth/logout")["csrf"]


def test_there_are_forms() -> None:
    """The tables below are not empty."""
    assert {SIGN_IN, "/oauth/second-factor", "/account/password", "/oauth/reset/password"} <= set(POSTS) and len(GETS) >= 6


@pytest.mark.parametrize("path", POSTS)
def test_forged_forms(crowd: People, path: str) -> None:
    """A form without its token, with a wrong one, with another browser's, or from another site is refused with 403."""
    http, root, right = prepared(crowd, path)
    fields = {"username": "user0", "password": PASSWORD}
    others = Found(crowd.browser().get(SIGN_IN).text).fields(SIGN_IN)["csrf"]
    for token in ({}, {"csrf": ""}, {"csrf": right[:-1]}, {"csrf": others}, {"csrf": "\u00e4"}):
        assert http.post(path, data=fields | token).status_code == 403, token
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": root.replace("http:", "https:") + ".evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": root},
    ):
        assert http.post(path, data=fields | {"csrf": right}, headers=headers).status_code == 403, headers
    answer = http.post(path, data=fields | {"csrf": right}, headers={"Origin": root, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code != 403, "the right token is refused too, so this shows nothing"


@pytest.mark.parametrize("path", POSTS)
def test_forms_without_cookies(crowd: People, path: str) -> None:
    """A right token without the browser that it belongs to is refused."""
    _, root, right = prepared(crowd, path)
    answer = httpx.post(f"{root}{path}", data={"csrf": right, "username": "user0", "password": PASSWORD})
    assert answer.status_code == (200 if path == "/oauth/logout" else 403)
    assert "fhir-session" not in answer.cookies


@pytest.mark.parametrize("path", POSTS)
def test_forms_that_are_none(crowd: People, path: str) -> None:
    """Bodies that are no form, fields that come twice, and ones that are too long end in an answer, never in a failure."""
    http, root, right = prepared(crowd, path)
    headers = {"Origin": root, "Content-Type": "application/x-www-form-urlencoded"}
    bodies = (b"\xff\xfe=%ff", b"csrf=" + right.encode() + b"&username=a&username=b&password=a&password=b&id=1&id=2", b"a" * 70_000)
    assert http.post(path, json={"csrf": right}, headers={"Origin": root}).status_code in (400, 403)
    for body in bodies:
        answer = http.post(path, content=body, headers=headers)
        assert 200 <= answer.status_code < 500, (path, body[:40], answer.status_code)


@pytest.mark.parametrize("method, path", PAGES)
def test_headers_of_every_page(crowd: People, method: str, path: str) -> None:
    """No page of sign-in, consent or the account can be put into a frame, sniffed, cached, or made to run scripts or send forms elsewhere;
    errors included."""
    for browser in (crowd.browser(), crowd.browser().entered(crowd.user())):
        answer = browser.http.request(method, path)
        headers = answer.headers
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "same-origin"
        policy = headers.get("content-security-policy", "")
        if answer.text:
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "script-src 'self';" in policy
            assert "form-action 'self';" in policy and "unsafe" not in policy and "base-uri 'none'" in policy


@pytest.mark.parametrize("path", GETS)
def test_pages_can_be_used_by_everybody(crowd: People, path: str) -> None:
    """Each page names its language, has one first heading and a title; fields that are seen have labels; style and script are outside."""
    browser = crowd.browser()
    if path == "/oauth/second-factor/set-up":
        browser.sign_in(crowd.needing())
    elif path in ("/account", "/account/second-factor"):
        browser.entered(crowd.user())
    text = browser.get(path).text
    assert '<html lang="en">' in text and text.count("<h1>") == 1 and re.search(r"<title>[^<]+</title>", text)
    seen = [tag for tag in re.findall(r"<input[^>]*>", text) if 'type="hidden"' not in tag and " hidden" not in tag]
    for tag in seen:
        id = re.search(r'id="([^"]+)"', tag)
        assert 'type="checkbox"' in tag or (id is not None and f'<label for="{id.group(1)}">' in text), tag
        assert "autocomplete=" in tag or 'type="checkbox"' in tag, tag
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert not re.search(r"<style|style=|<script(?! src=\"/oauth/static/)|\son\w+=", text)
