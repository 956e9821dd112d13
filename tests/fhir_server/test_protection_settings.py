"""The settings of what protects the server from its callers."""

import pytest

from fhir_server.cli.check_config import effective
from fhir_server.config import SettingsError, load_settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("cors_origins", "https://app.example.org/", "without a path"),
        ("cors_origins", "app.example.org", "FHIR_CORS_ORIGINS"),
        ("cors_origins", "* https://a.example", "FHIR_CORS_ORIGINS"),
        ("trusted_proxies", "10.0.0.0/8 proxy", "FHIR_TRUSTED_PROXIES"),
        ("trusted_proxies", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("proxy_header", "X-Real-IP", "FHIR_PROXY_HEADER"),
        ("rate_limit", "600", "600/minute"),
        ("rate_limit_sign_in", "many", "FHIR_RATE_LIMIT_SIGN_IN"),
        ("max_concurrent_per_client", "-1", "FHIR_MAX_CONCURRENT_PER_CLIENT"),
        ("redis_url", "http://redis", "redis://"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: str, says: str) -> None:
    """One line that names the setting and says what is understood."""
    with pytest.raises(SettingsError, match=says) as refusal:
        load_settings({name: value})
    assert f"FHIR_{name.upper()}" in str(refusal.value)


def test_passwords_are_not_shown() -> None:
    """Neither by `check-config` nor by a refusal."""
    assert (
        effective(load_settings({"redis_url": "rediss://:hush@redis.example:6380/1"}))["FHIR_REDIS_URL"]
        == "rediss://***@redis.example:6380/1"
    )
    with pytest.raises(SettingsError) as refusal:
        load_settings({"redis_url": "http://:hush@redis.example"})
    assert "hush" not in str(refusal.value)


def test_a_certificate_makes_the_address_https() -> None:
    """Links and discovery say https where the server speaks it itself."""
    assert load_settings({"tls_cert": "/etc/tls/cert.pem", "port": "8443"}).base == "https://127.0.0.1:8443/fhir"
    assert load_settings({}).base == "http://127.0.0.1:8000/fhir"
