"""Requests that no endpoint takes: another method, an address that is none, a body without end."""

from typing import Any

import pytest
from oauth.world import OAuth, refused

ALLOWED = {
    "/oauth/token": "POST",
    "/oauth/authorize": "GET, POST",
    "/oauth/jwks": "GET",
    "/oauth/static/style.css": "GET",
    "/fhir/.well-known/smart-configuration": "GET",
    "/.well-known/openid-configuration": "GET",
    "/account": "GET",
}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PROPFIND"])
@pytest.mark.parametrize("path", ALLOWED)
def test_another_method(oauth: OAuth, path: str, method: str) -> None:
    """405 as OAuth tells errors, with the methods that there are."""
    answer = oauth.http.request(method, path)
    assert f"takes {ALLOWED[path]}, not {method}" in refused(answer, "invalid_request", 405)
    assert answer.headers["allow"] == ALLOWED[path].replace("GET", "GET, HEAD")


def test_another_method_for_scripts(oauth: OAuth) -> None:
    """A script of another origin may read why."""
    answer = oauth.http.get("/oauth/token", headers={"Origin": "https://app.example"})
    refused(answer, "invalid_request", 405)
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/oauth/nowhere", "/oauth/token/", "/oauth/", "/oauth/static/a/b"])
def test_no_address(oauth: OAuth, path: str) -> None:
    """404 as OAuth tells errors, with the place that names the addresses; a page for browsers."""
    for method in ("GET", "POST"):
        assert "/fhir/.well-known/smart-configuration" in refused(oauth.http.request(method, path), "invalid_request", 404)
    page = oauth.http.get(path, headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_a_page_for_browsers(oauth: OAuth) -> None:
    """A browser that sends what is not taken is shown a page."""
    page = oauth.http.get("/oauth/token", headers={"Accept": "text/html"})
    assert page.status_code == 405 and page.headers["allow"] == "POST"
    assert "this address takes POST, not GET" in page.text


def outcome(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/fhir+json", answer.text
    text: str = answer.json()["issue"][0]["details"]["text"]
    return text


def test_state_of_apps_is_fhir(oauth: OAuth) -> None:
    """At the addresses of apps' state it is an OperationOutcome, also what is refused before the endpoint is asked."""
    answer = oauth.http.request("PATCH", "/app-state/Basic/1")
    assert answer.status_code == 405 and set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    assert "not PATCH" in outcome(answer)
    answer = oauth.http.post("/app-state/Basic", content=b" " * 3_000_000, headers=oauth.bearer("keeper"))
    assert answer.status_code == 413 and "most that this address takes" in outcome(answer)
    many = oauth.http.get("/app-state/Basic?" + "&".join(["a=b"] * 600), headers=oauth.bearer("keeper"))
    assert many.status_code == 400 and "more than 500 parameters" in outcome(many)


def test_a_body_without_end(oauth: OAuth) -> None:
    """413 says what the address takes, and names no setting of another one."""
    text = refused(oauth.post("token", {"x": "x" * 70_000}), "invalid_request", 413)
    assert "65536 bytes" in text and "FHIR_MAX_BODY" not in text
