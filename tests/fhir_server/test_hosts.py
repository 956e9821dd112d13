"""Without sign-in only this machine's own names are answered."""

import pytest

from fhir_server.config import load_settings
from fhir_server.rest.hosts import Hosts
from resources.outcomes import FhirError


@pytest.mark.parametrize(
    ("host", "base_url", "answered"),
    [
        ("127.0.0.1:8000", "", True),
        ("localhost", "", True),
        ("LOCALHOST:8000", "", True),
        ("[::1]:8000", "", True),
        ("", "", True),
        ("fhir.localhost:8000", "", True),
        ("evil.example", "", False),
        ("localhost.evil.example:8000", "", False),
        ("[", "", False),
        ("fhir:8000", "http://fhir:8000/fhir", True),
        ("other:8000", "http://fhir:8000/fhir", False),
    ],
)
def test_a_foreign_host_is_refused_while_sign_in_is_off(host: str, base_url: str, answered: bool) -> None:
    """A web site cannot have a visitor's browser read this server under the site's own name."""
    hosts = Hosts(load_settings({"auth": "off", "base_url": base_url}))
    for _ in range(2):
        if answered:
            hosts.check(host)
        else:
            with pytest.raises(FhirError, match="Sign-in is off"):
                hosts.check(host)


@pytest.mark.parametrize(
    ("origin", "answered"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://fhir:8000", True),
        ("https://app.example.org", True),
        ("https://app.example.org.evil.example", False),
        ("https://evil.example", False),
        ("http://app.example.org", False),
        ("null", False),
        ("https://[", False),
    ],
)
def test_scripts_of_a_foreign_site_are_refused_while_sign_in_is_off(origin: str, answered: bool) -> None:
    """Scripts of this machine's pages and of sites that the settings name are answered, no others."""
    hosts = Hosts(load_settings({"auth": "off", "base_url": "http://fhir:8000/fhir", "cors_origins": "https://app.example.org"}))
    for _ in range(2):
        if answered:
            hosts.check("fhir:8000", origin)
        else:
            with pytest.raises(FhirError, match="scripts of other web sites"):
                hosts.check("fhir:8000", origin)


def test_with_sign_in_every_site_may_ask() -> None:
    """A token is asked for then, and no cookie counts."""
    Hosts(load_settings({"auth": "smart"})).check("evil.example", "https://evil.example")
