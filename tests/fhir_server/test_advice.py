"""What an operator is told of settings that work and are seldom meant."""

from typing import Any

import pytest

from fhir_server.cli.advice import advice
from fhir_server.config import load_settings

SEARCH = "http://127.0.0.1:9200"
SETTLED = {"secret": "a" * 16, "base_url": "https://fhir.example.org/fhir"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"search_url": SEARCH}, []),
        ({"search_url": "https://es.example.org"}, []),
        ({"search_url": "http://es.example.org:9200"}, ["FHIR_SEARCH_URL"]),
        ({"store_url": "mongodb://127.0.0.1/x", "search_url": SEARCH, **SETTLED}, []),
        ({"store_url": "mongodb://me:pw@[::1]:27017,localhost/x", "search_url": SEARCH, **SETTLED}, []),
        ({"store_url": "mongodb://localhost,db2.example.org/x", "search_url": SEARCH, **SETTLED}, ["FHIR_STORE_URL"]),
        ({"store_url": "mongodb://db.example.org/x?tls=true", "search_url": SEARCH, **SETTLED}, []),
        ({"store_url": "mongodb+srv://db.example.org/x", "search_url": SEARCH, **SETTLED}, []),
        ({"store_url": "mongodb+srv://db.example.org/x?tls=false", "search_url": SEARCH, **SETTLED}, ["FHIR_STORE_URL"]),
        ({"store_url": "postgresql://127.0.0.1/x", "search_url": SEARCH}, ["FHIR_SECRET", "FHIR_BASE_URL"]),
        ({"host": "0.0.0.0"}, ["FHIR_HOST", "FHIR_BASE_URL"]),
        ({"host": "192.0.2.1"}, ["FHIR_HOST"]),
        ({"host": "0.0.0.0", "base_url": "https://fhir.example.org/fhir"}, []),
        ({"host": "0.0.0.0", "base_url": "http://fhir.example.org/fhir"}, ["FHIR_HOST"]),
        ({"host": "::", "tls_cert": "/etc/tls/cert.pem"}, ["FHIR_BASE_URL"]),
        ({"workers": 4, "rate_limit": "600/minute"}, ["FHIR_WORKERS=4"]),
        ({"workers": 4, "rate_limit": "600/minute", "redis_url": "redis://127.0.0.1"}, []),
    ],
)
def test_what_is_seldom_meant_is_said(given: dict[str, Any], words: list[str]) -> None:
    """Unencrypted links to other machines, and what several servers on one store must share; embedded engines need no advice."""
    found = advice(load_settings(given))
    assert [sentence.split(":")[0].split(" ")[0] for sentence in found] == words
    assert "pw" not in " ".join(found)
