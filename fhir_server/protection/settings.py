"""The settings of what protects the server from its callers, each once: `fhir_server.config.Settings` is made of these and more."""

from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from fhir_server.protection.rates import Rate, rate
from smart_auth.outside.settings import setting
from smart_auth.settings import SignInSettings

RATES: Final = (
    "rate_limit",
    "rate_limit_anonymous",
    "rate_limit_oauth",
    "rate_limit_authorize",
    "rate_limit_sign_in",
    "rate_limit_polls",
)
"""Settings that are rates."""


class ProtectionSettings(SignInSettings):
    """Fields of `fhir_server.config.Settings`; the setting `tls_cert` is the environment variable `FHIR_TLS_CERT`."""

    cors_origins: str = setting(
        "*",
        "Web sites whose scripts may call the FHIR and OAuth endpoints with tokens of their own: `*` for all, `off` for none, or origins"
        " separated by blanks (`https://app.example.org`). With `FHIR_AUTH=off` there are no tokens, and `*` means pages of this machine"
        " only.",
    )
    tls_cert: Path | None = setting(
        None, "File with the server's certificate and those that it was signed by (PEM). With it the server speaks https only."
    )
    tls_key: Path | None = setting(None, "File with the certificate's private key (PEM); empty: it is in `FHIR_TLS_CERT`.")
    trusted_proxies: str = setting(
        "",
        "Addresses or networks, separated by blanks (`10.0.0.0/8`), of proxies in front of this server: what they say of the caller's"
        " address is believed, for audit and limits. Empty: nobody is.",
    )
    proxy_header: Literal["X-Forwarded-For", "Forwarded"] = setting(
        "X-Forwarded-For",
        "The header in which trusted proxies name the caller's address; they must set or extend it in every request.",
    )
    rate_limit: str = setting(
        "off",
        "Most requests of one client (for one user) to the FHIR interface, such as `600/minute` (or `second`, `hour`), or `off`. Each entry"
        " of a batch or transaction counts; more is answered with 429. Counted in each server process for itself, or, with"
        " `FHIR_REDIS_URL`, for all of them together.",
    )
    rate_limit_anonymous: str = setting(
        "600/minute",
        "Most requests without a token that counts from one address (an IPv6 /64 is one), or `off`. As many calls of OAuth endpoints that"
        " were refused to nobody known are counted apart; beyond them such calls are answered with 429 and not recorded one by one.",
    )
    rate_limit_oauth: str = setting("6000/minute", "Most requests to the OAuth endpoints from one address, or `off`.")
    rate_limit_authorize: str = setting(
        "600/minute",
        "Most requests of apps for a user's consent (`/oauth/authorize`) from one address, or `off`; each is kept a while.",
    )
    rate_limit_sign_in: str = setting(
        "600/minute", "Most forms (sign-in, second factor, password reset) sent from one address, or `off`."
    )
    rate_limit_polls: str = setting("120/minute", "Most questions what has become of one job (an export), or `off`.")
    max_concurrent_per_client: int = setting(
        0, "Most requests of one client at the same time in one server process; 0: as many as it likes.", ge=0
    )
    redis_url: str = setting(
        "",
        "Redis that server processes share their counting in, and that tells workers of jobs (`FHIR_JOBS`): `redis://HOST:6379/0`,"
        " `rediss://…`. While it cannot be reached, each process counts for itself, and workers look for jobs in the store.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _known_origins(cls, value: str) -> str:
        for origin in value.split() if value not in ("*", "off") else ():
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
                raise ValueError("it is *, off, or origins such as https://app.example.org, without a path, separated by blanks")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _known_networks(cls, value: str) -> str:
        for network in value.split():
            try:
                ip_network(network)
            except ValueError as problem:
                raise ValueError(f"{problem}: give addresses or networks such as 10.0.0.0/8, separated by blanks") from None
        return value

    @field_validator(*RATES)
    @classmethod
    def _known_rate(cls, value: str) -> str:
        rate(value)
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        if value and not (value.startswith(("redis://", "rediss://")) and urlsplit(value).hostname):
            raise ValueError("it begins with redis:// or rediss:// and names a host")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.tls_key and not self.tls_cert:
            raise ValueError("FHIR_TLS_KEY needs FHIR_TLS_CERT, the certificate that the key belongs to")
        return self

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`: ("*",) for all, none where it is `off`."""
        return () if self.cors_origins == "off" else tuple(self.cors_origins.split())

    @cached_property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `trusted_proxies`."""
        return tuple(ip_network(network) for network in self.trusted_proxies.split())

    @cached_property
    def rates(self) -> dict[str, Rate]:
        """Setting -> its limit, of those that are not off."""
        found = {name: rate(getattr(self, name)) for name in RATES}
        return {name: limit for name, limit in found.items() if limit is not None}
