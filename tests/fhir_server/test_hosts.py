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
