"""A new client, from the options of `fhir-server client add`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from smart_auth.client_keys.addresses import Allowed
from smart_auth.client_keys.jwks import LARGEST, read_jwks
from smart_auth.client_keys.jwks_uri import check_url
from smart_auth.clients import AuthMethod, Client, ClientType, ContextForm, Secret, new_id, new_secret
from smart_auth.registration.redirect_uris import check_launch_uri, check_redirect_uri
from smart_auth.scopes import fault, parse_scopes
from smart_auth.server.backend import OWN_WORDS


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of a new client."""

    name: str
    type: ClientType
    scope: str
    redirect_uris: Sequence[str]
    launch_uri: str
    jwks: Path | None
    jwks_uri: str
    skip_consent: bool = False
    fhir_context: ContextForm = "objects"
    deidentified: bool = False


def new_client(asked: Asked, types: frozenset[str], now: int, allowed: Allowed) -> tuple[Client, str]:
    """The client and its secret ("" where it has none). `types` are the resource types there are, `allowed` is where its keys may
    be published. Raises ValueError with a sentence for whoever typed it."""
    if not asked.name.strip() or len(asked.name) > 200 or not asked.name.isprintable():
        raise ValueError("--name must be 1 to 200 printable characters")
    if asked.deidentified and asked.type != "backend":
        raise ValueError("--deidentified is for services (--type backend): apps are told who their users and patients are")
    scopes = _scopes(asked, types)
    for uri in asked.redirect_uris:
        check_redirect_uri(uri)
    if asked.launch_uri:
        check_launch_uri(asked.launch_uri)
    method = _method(asked)
    secret, kept = new_secret() if method == "client_secret_basic" else ("", None)
    client = Client(
        id=new_id(),
        name=asked.name.strip(),
        type=asked.type,
        scopes=scopes,
        auth_method=method,
        redirect_uris=tuple(dict.fromkeys(asked.redirect_uris)),
        launch_uri=asked.launch_uri,
        secrets=(kept,) if isinstance(kept, Secret) else (),
        jwks=keys_of(asked.jwks),
        jwks_uri=_fetched(asked.jwks_uri, allowed),
        trusted=asked.skip_consent,
        fhir_context=asked.fhir_context,
        created=now,
        deidentified=asked.deidentified,
    )
    return client, secret


def with_keys(client: Client, jwks: Path | None, jwks_uri: str, allowed: Allowed) -> Client:
    """The client with other keys, or another address of them. Raises ValueError with a sentence."""
    if client.auth_method != "private_key_jwt":
        raise ValueError(f"the client {client.id} has no keys ({client.auth_method})")
    if (jwks is None) == (not jwks_uri):
        raise ValueError("give the new keys, by --jwks FILE or --jwks-uri URL")
    return msgspec.structs.replace(client, jwks=keys_of(jwks), jwks_uri=_fetched(jwks_uri, allowed))


def _fetched(url: str, allowed: Allowed) -> str:
    """The address, "" for none. Raises ValueError for one that this server would not fetch keys from."""
    if not url:
        return ""
    try:
        return check_url(url, allowed).geturl()
    except ValueError as problem:
        raise ValueError(f"--jwks-uri {url}: {problem}") from None


def keys_of(file: Path | None) -> dict[str, Any] | None:
    """The JWK Set of a file, None for none. Raises ValueError with a sentence."""
    return None if file is None else {"keys": read_jwks(_document(file))}


def _method(asked: Asked) -> AuthMethod:
    keys = asked.jwks is not None or bool(asked.jwks_uri)
    if asked.jwks is not None and asked.jwks_uri:
        raise ValueError("give --jwks or --jwks-uri, not both")
    if asked.type == "public" and keys:
        raise ValueError("a public client has no keys; with --jwks or --jwks-uri it is confidential")
    if asked.type == "backend" and not keys:
        raise ValueError("a backend service proves itself by a key: give --jwks FILE or --jwks-uri URL")
    if asked.type != "backend" and not asked.redirect_uris:
        raise ValueError("an app needs --redirect-uri, where the user comes back to after allowing it")
    if asked.type == "backend" and (asked.redirect_uris or asked.launch_uri):
        raise ValueError("a backend service has no user, so neither --redirect-uri nor --launch-uri")
    if asked.type == "backend" and asked.skip_consent:
        raise ValueError("a backend service has no user, so there is no consent to skip")
    if asked.type == "public":
        return "none"
    return "private_key_jwt" if keys else "client_secret_basic"


def _scopes(asked: Asked, types: frozenset[str]) -> str:
    read = parse_scopes(asked.scope)
    for each in read.resources:
        if each.type != "*" and each.type not in types:
            raise ValueError(f"{each.text}: FHIR R4 has no resource type {each.type}")
        if (each.level == "system") != (asked.type == "backend"):
            raise ValueError(f"{each.text}: a backend service has system/ scopes, an app patient/ and user/ scopes")
    if asked.type == "backend":
        unfit = [word for word in read.words if word not in OWN_WORDS]
        if unfit:
            raise ValueError(f"{unfit[0]} is for apps with a user")
    if asked.deidentified and read.words:
        raise ValueError(f"{read.words[0]} does not go with --deidentified: nothing but exports is for such a service")
    if read.unknown:
        raise ValueError(
            f"{read.unknown[0]}: {fault(read.unknown[0])}; scopes look like patient/*.rs, user/Appointment.cruds or system/*.rs"
        )
    if not read.resources and not read.words:
        raise ValueError("--scope must name what the client may ask for at most")
    return read.text


def _document(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as failure:
        raise ValueError(f"--jwks {path}: {failure.strerror}") from None
