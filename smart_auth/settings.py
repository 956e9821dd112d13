"""The settings of sign-in and tokens, each once: `fhir_server.config.Settings` is made of these and its own."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings


def _setting(default: Any, help: str, **limits: Any) -> Any:
    return Field(default, description=help, **limits)


class SignInSettings(BaseSettings):
    """Fields of `fhir_server.config.Settings`; the setting `token_ttl` is the environment variable `FHIR_TOKEN_TTL`."""

    token_ttl: int = _setting(3_600, "Seconds for which an access token of a user is good.", ge=60, le=86_400)
    backend_token_ttl: int = _setting(300, "Seconds for which an access token of a backend service is good.", ge=30, le=3_600)
    refresh_ttl_days: int = _setting(
        180, "Days after which a refresh token that is not used any more is good for nothing.", ge=1, le=3_650
    )
    registration: Literal["closed", "open", "token"] = _setting(
        "closed",
        "Dynamic client registration (RFC 7591). `closed`: nobody; `token`: whoever has an access token of an administrator; `open`:"
        " everybody, for public and confidential apps.",
    )
    sign_in_name: str = _setting("FHIR server", "What sign-in and consent pages call this server.", max_length=100)
    mfa_roles: str = _setting(
        "",
        "Roles, separated by blanks, whose users must have a second factor (`practitioner admin`); they set it up at their"
        " next sign-in.",
    )
    style_file: Path | None = _setting(None, "A JSON file to serve as SMART style (`smart_style_url`) in place of the default one.")
