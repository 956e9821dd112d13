"""What a client says of itself when it registers (RFC 7591, 2), read and checked."""

import re
from typing import Annotated, Any, Final

import msgspec

from smart_auth.client_keys.addresses import Allowed
from smart_auth.client_keys.jwks import UnusableKeys, read_jwks
from smart_auth.client_keys.jwks_uri import check_url
from smart_auth.clients import AuthMethod
from smart_auth.errors import OAuthError, wrong_member
from smart_auth.keys import ALGORITHMS
from smart_auth.registration.redirect_uris import check_launch_uri, check_redirect_uri

MOST_URIS: Final = 20
GRANTS: Final = ("authorization_code", "refresh_token")
"""What apps may use; a service that acts for itself also `client_credentials`."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Uri = Annotated[str, msgspec.Meta(max_length=2_000)]
_Scope = Annotated[str, msgspec.Meta(max_length=8_192)]
_Word = Annotated[str, msgspec.Meta(max_length=100)]
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters by which a name could look like another."""


class Metadata(msgspec.Struct, omit_defaults=True):
    """The members that are understood; all others are left out of the answer (RFC 7591, 2)."""

    redirect_uris: Annotated[list[str], msgspec.Meta(max_length=MOST_URIS)] = []
    token_endpoint_auth_method: _Word = ""
    grant_types: Annotated[list[_Word], msgspec.Meta(max_length=10)] = []
    response_types: Annotated[list[_Word], msgspec.Meta(max_length=10)] = []
    client_name: _Name = ""
    client_uri: _Uri = ""
    logo_uri: _Uri = ""
    tos_uri: _Uri = ""
    policy_uri: _Uri = ""
    initiate_login_uri: _Uri = ""
    scope: _Scope = ""
    contacts: Annotated[list[_Name], msgspec.Meta(max_length=10)] = []
    jwks: dict[str, Any] | None = None
    jwks_uri: _Uri = ""
    software_id: _Name = ""
    software_version: _Name = ""
    application_type: _Word = ""
    id_token_signed_response_alg: _Word = ""


_decode = msgspec.json.Decoder(Metadata).decode


def read_metadata(body: bytes, *, allowed: Allowed) -> Metadata:
    """The metadata of a body. `allowed`: where keys may be published.

    Raises OAuthError invalid_redirect_uri or invalid_client_metadata (RFC 7591, 3.2.2).
    """
    try:
        read = _decode(body)
    except (msgspec.DecodeError, RecursionError) as failure:
        raise unfit(wrong_member(failure)) from None
    for uri in read.redirect_uris:
        try:
            check_redirect_uri(uri)
        except ValueError as problem:
            raise OAuthError("invalid_redirect_uri", _plain(str(problem))) from None
    _check_pages(read)
    _check_keys(read, allowed)
    if _UNSEEN.search("".join((read.client_name, *read.contacts, read.software_id, read.software_version))):
        raise unfit("client_name and other texts must not have characters that cannot be seen")
    if read.id_token_signed_response_alg and read.id_token_signed_response_alg not in ALGORITHMS:
        raise unfit(f"id_token_signed_response_alg must be one of {', '.join(ALGORITHMS)}")
    if read.response_types not in ([], ["code"]):
        raise unfit("response_types must be code alone")
    return read


def method_of(read: Metadata) -> AuthMethod:
    """How the client proves itself: as it says, else by HTTP Basic, the default. Raises OAuthError."""
    method = read.token_endpoint_auth_method or ("private_key_jwt" if read.jwks or read.jwks_uri else "client_secret_basic")
    keys = bool(read.jwks or read.jwks_uri)
    if method == "private_key_jwt" and not keys:
        raise unfit("private_key_jwt needs jwks or jwks_uri")
    if method != "private_key_jwt" and keys:
        raise unfit("jwks and jwks_uri are for token_endpoint_auth_method private_key_jwt")
    match method:
        case "none" | "client_secret_basic" | "client_secret_post" | "private_key_jwt":
            return method
        case _:
            raise unfit("token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt")


def unfit(description: str) -> OAuthError:
    """400: a member of the metadata cannot be taken."""
    return OAuthError("invalid_client_metadata", _plain(description))


def _check_pages(read: Metadata) -> None:
    for name in ("client_uri", "logo_uri", "tos_uri", "policy_uri", "initiate_login_uri"):
        if value := getattr(read, name):
            try:
                check_launch_uri(value)
            except ValueError:
                raise unfit(f"{name} must begin with https://") from None


def _check_keys(read: Metadata, allowed: Allowed) -> None:
    if read.jwks is not None and read.jwks_uri:
        raise unfit("jwks and jwks_uri exclude each other")
    try:
        if read.jwks is not None:
            read.jwks = {"keys": read_jwks(msgspec.json.encode(read.jwks))}
        if read.jwks_uri:
            check_url(read.jwks_uri, allowed)
    except (UnusableKeys, ValueError) as problem:
        raise unfit(str(problem)) from None


def _plain(text: str) -> str:
    """Without what an error_description may not have."""
    return "".join(c for c in text if " " <= c <= "~" and c not in '"\\')
