"""What is allowed and yet seldom meant: said when the server starts and by `check-config`."""

from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from fhir_server.config import Settings
from smart_auth.client_keys.jwks_uri import loopback


def advice(settings: Settings) -> list[str]:
    """A sentence for each setting, or missing one, that an operator of these engines will want to change; none has a password in it.

    PostgreSQL's link is judged by its store, which knows what the driver makes of the URL.
    """
    found = []
    if settings.elastic and _exposed(settings.search_url):
        found.append("FHIR_SEARCH_URL: what is searched for and found travels unencrypted to Elasticsearch; use https://")
    if settings.store == "mongodb" and not _tls(settings.store_url):
        found.append("FHIR_STORE_URL: documents travel unencrypted to MongoDB; add tls=true")
    if settings.store in ("mongodb", "postgresql"):
        if settings.secret is None:
            found.append(
                "FHIR_SECRET is not set: a second server on this store would refuse this one's page links, and could open neither its"
                " keys nor the second factors of users; give all the same"
            )
        if not settings.base_url:
            found.append("FHIR_BASE_URL is not set: absolute references to this server are known by FHIR_HOST and FHIR_PORT only")
    if not loopback(settings.host) and not settings.base.startswith("https://"):
        found.append(
            "FHIR_HOST is not a loopback address and FHIR_BASE_URL is not https: tokens and records would travel unencrypted; give the"
            " server a certificate (FHIR_TLS_CERT), or name the https address of the proxy in front of it (FHIR_BASE_URL)"
        )
    if settings.auth == "smart" and not settings.base_url and _nowhere(settings.host):
        found.append(
            f"FHIR_BASE_URL is not set: apps that sign in are told addresses at {settings.base.removesuffix('/fhir')}, which lead nowhere"
        )
    if settings.workers > 1 and settings.rate_limit != "off" and not settings.redis_url:
        found.append(
            f"FHIR_WORKERS={settings.workers} without FHIR_REDIS_URL: each process counts requests for itself, so together they allow"
            f" {settings.workers} times what the rate limits say"
        )
    return found


def _nowhere(host: str) -> bool:
    """Whether it stands for all addresses of the machine, and so is none that anybody can go to."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _exposed(url: str) -> bool:
    return url.startswith("http://") and not loopback(urlsplit(url).hostname or "")


def _tls(url: str) -> bool:
    """Whether a MongoDB URL asks for TLS or stays on this machine; `mongodb+srv` asks for it by itself."""
    place, _, query = url.partition("://")[2].partition("?")
    options = {name.lower(): value.lower() for name, value in parse_qsl(query)}
    asked = options.get("tls", options.get("ssl", "true" if url.startswith("mongodb+srv://") else "false"))
    hosts = place.rpartition("@")[2].partition("/")[0].split(",")
    return asked == "true" or all(loopback(urlsplit(f"//{host}").hostname or "") for host in hosts)
