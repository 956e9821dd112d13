"""The settings of sign-in and tokens, each once: `fhir_server.config.Settings` is made of these and its own."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from smart_auth.brands.bundle import read_brands
from smart_auth.client_keys.addresses import Allowed
from smart_auth.openid.style_file import read_style
from smart_auth.outside.settings import OutsideSettings, setting
from smart_auth.roles import ROLES


class SignInSettings(OutsideSettings):
    """Fields of `fhir_server.config.Settings`; the setting `token_ttl` is the environment variable `FHIR_TOKEN_TTL`."""

    token_ttl: int = setting(3_600, "Seconds for which an access token of a user is good.", ge=60, le=86_400)
    backend_token_ttl: int = setting(300, "Seconds for which an access token of a backend service is good.", ge=30, le=300)
    refresh_ttl_days: int = setting(
        180, "Days after which a refresh token that is not used any more is good for nothing.", ge=1, le=3_650
    )
    registration: Literal["closed", "open", "token"] = setting(
        "closed",
        "Dynamic client registration (RFC 7591). `closed`: nobody; `token`: whoever has a token that `fhir-server token --scope"
        " 'system/*.cruds'` printed; `open`: everybody, for public and confidential apps.",
    )
    jwks_uri_allow: str = setting(
        "",
        "Hosts and networks, separated by blanks (`keys.clinic.internal 10.1.0.0/16`), where clients may publish their keys (`jwks_uri`)"
        " although they are not on the public Internet.",
    )
    sign_in_name: str = setting("FHIR server", "What sign-in and consent pages call this server.", max_length=100)
    mfa_roles: str = setting(
        "",
        "Roles, separated by blanks, whose users must have a second factor (`practitioner admin`); they set it up at their"
        " next sign-in.",
    )
    session_idle: int = setting(30, "Minutes without use after which a person has to sign in again.", ge=1, le=1_440)
    session_hours: int = setting(12, "Hours after which a person has to sign in again, however active.", ge=1, le=168)
    password_length: int = setting(12, "Fewest characters of a password that is chosen.", ge=8, le=128)
    password_memory: int = setting(
        64,
        "MiB that the hash of one password takes (Argon2id, three passes). More makes stolen hashes costlier to try, and each sign-in"
        " slower; passwords are hashed anew at the next sign-in.",
        ge=19,
        le=1_024,
    )
    remember_consent: bool = setting(
        True,
        "Whether users are asked only once for what they allow a confidential app, as long as they do not end it and it asks for no more."
        " Public apps ask each time.",
    )
    smtp_url: SecretStr | None = setting(
        None,
        "Where mail is sent, for forgotten passwords: `smtp://user:password@host:port` (TLS begins with STARTTLS), or `smtps://`. Empty: no"
        " mail; an administrator makes the links.",
    )
    mail_from: str = setting("fhir-server@localhost", "The sender of that mail.", max_length=320)
    brand_file: Path | None = setting(
        None,
        "A JSON file with the Bundle of Organizations and Endpoints (SMART's user-access brands) by which users find this server in apps;"
        " published at `/oauth/brands`.",
    )
    brand_name: str = setting(
        "",
        "Without such a file: the name by which users know the organization, published as its only brand. Empty: none.",
        max_length=200,
    )
    brand_url: str = setting(
        "", "The organization's web site, for its brand. Empty: the address of this server.", pattern=r"^(https?://[!-~]{1,500})?$"
    )
    style_file: Path | None = setting(None, "A JSON file to serve as SMART style (`smart_style_url`) in place of the default one.")

    @field_validator("brand_file")
    @classmethod
    def _brands(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_brands(value)
        return value

    @field_validator("style_file")
    @classmethod
    def _style(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_style(value)
        return value

    @field_validator("jwks_uri_allow")
    @classmethod
    def _readable(cls, value: str) -> str:
        Allowed.read(value)
        return value

    @field_validator("mfa_roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        for role in value.split():
            if role not in ROLES:
                raise ValueError(f"{role} is no role; roles are {', '.join(ROLES)}")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        url = urlsplit(value.get_secret_value()) if value is not None else None
        if url is not None and not (url.scheme in ("smtp", "smtps") and url.hostname):
            raise ValueError("a mail server is smtp://host:port or smtps://host:port")
        return value
