"""Packing and shape of answers, and what stands beside the FHIR interface."""

import gzip
import json
import re

import httpx
import pytest
import zstandard

from tests.api.conftest import Running


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("identity", ""),
        ("br", ""),
        ("gzip;q=0", ""),
        ("gzip;q=x", ""),
    ],
)
def test_packed_as_the_caller_likes(running: Running, accepted: str, coding: str) -> None:
    """A long answer is packed with the coding that the caller likes best (RFC 9110, 12.5.3)."""
    with httpx.stream("GET", f"{running.root}/fhir/metadata", headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding", "") == coding
    assert "accept-encoding" in answer.headers["vary"]
    plain = gzip.decompress(raw) if coding == "gzip" else zstandard.decompress(raw) if coding == "zstd" else raw
    assert json.loads(plain)["resourceType"] == "CapabilityStatement"


def test_short_answers_stay_as_they_are(api: httpx.Client) -> None:
    """Packing what fits one network packet would only cost time."""
    answer = api.get("Patient/none", headers={"Accept-Encoding": "gzip, zstd"})
    assert "content-encoding" not in answer.headers


def test_pretty(api: httpx.Client) -> None:
    """_pretty indents every answer, errors too."""
    assert b'\n  "issue"' in api.get("Patient/none?_pretty=true").content
    assert api.get("Patient/none?_pretty=perhaps").status_code == 400


def test_health(running: Running) -> None:
    """/livez and /readyz answer 200 while the server can serve."""
    for path in ("/livez", "/readyz"):
        answer = httpx.get(running.root + path)
        assert (answer.status_code, answer.text) == (200, "ok\n")


def test_metrics(api: httpx.Client, running: Running) -> None:
    """/metrics counts requests by interaction and status, without paths or ids."""
    api.get("Patient/metrics-none")
    text = httpx.get(f"{running.root}/metrics").text
    found = re.search(r'^fhir_requests_total\{interaction="read",status="404"\} (\d+)$', text, re.MULTILINE)
    assert found is not None
    assert int(found[1]) >= 1
    assert 'fhir_request_seconds_bucket{interaction="read",le="+Inf"}' in text
    assert "metrics-none" not in text


def test_elsewhere(running: Running) -> None:
    """What is neither FHIR nor health is 404."""
    assert httpx.get(f"{running.root}/fhirx").status_code == 404
