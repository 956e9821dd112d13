"""The apps and services that may ask for tokens: what is kept of a client, and how it is made, found, changed and removed.

A secret is 256 random bits, kept as its SHA-256 only; while it is being rotated there are two.
"""

import hmac
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from resources.store import ABSENT, RecordChange, ResourceStore
from smart_auth.happenings import Happening
from smart_auth.scopes import Scopes, parse_scopes
from smart_auth.tokens import digest

KIND = "client"
ClientType = Literal["public", "confidential", "backend"]
ContextForm = Literal["objects", "references"]
AuthMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]

ID = re.compile(r"[ -~]{1,128}", re.ASCII)
"""What a client_id can be (RFC 6749, appendix A.1), within bounds; anything else is not looked up."""
_NOBODY = digest("")
"""What a secret is compared with where there is none, so that the work is the same."""


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """The `hash` of a client's secret, and the instant from which on it is no longer good (microseconds; 0: always good)."""

    hash: str
    expires: int = 0


class Client(msgspec.Struct, frozen=True, omit_defaults=True):
    """An app (`public`: keeps no secret; `confidential`) or a service that acts for itself (`backend`).

    `scopes` is the most that it may ask for. `launch_uri` is where an EHR starts it. `jwks` (a JWK Set) or `jwks_uri` are its public
    keys where `auth_method` is private_key_jwt. `trusted`: users need not be asked, for the operator answers for it.
    `fhir_context` is how token responses tell it fhirContext: as SMART 2.2 does, or as an array of references, as up to version 2.0.
    `registered` are further members of a dynamic registration (RFC 7591), as they were sent; `opened` is the hour since the epoch in which
    it registered itself without anybody who answers for it (0: it did not). `deidentified`: it gets de-identified exports and nothing else.
    """

    id: str
    name: str
    type: ClientType
    scopes: str
    auth_method: AuthMethod
    redirect_uris: tuple[str, ...] = ()
    launch_uri: str = ""
    secrets: tuple[Secret, ...] = ()
    jwks: dict[str, Any] | None = None
    jwks_uri: str = ""
    disabled: bool = False
    trusted: bool = False
    created: int = 0
    registered: dict[str, Any] = {}
    opened: int = 0
    fhir_context: ContextForm = "objects"
    deidentified: bool = False

    @property
    def most(self) -> Scopes:
        """The most that it may ask for."""
        return parse_scopes(self.scopes)


class Stored(NamedTuple):
    """A client and the revision of its record, for changing it."""

    client: Client
    revision: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Client).decode


async def find_client(store: ResourceStore, id: str) -> Client | None:
    """The client that may ask for something now: None for one that is unknown or disabled. Raises StoreUnavailable."""
    stored = await stored_client(store, id)
    return None if stored is None or stored.client.disabled else stored.client


async def stored_client(store: ResourceStore, id: str) -> Stored | None:
    """The client, disabled or not, for administration. Raises StoreUnavailable."""
    if not ID.fullmatch(id):
        return None
    record = await store.record(KIND, id)
    return None if record is None else Stored(_decode(record.value), record.revision)


async def all_clients(store: ResourceStore) -> AsyncIterator[Client]:
    """Every client in the order of their ids."""
    after = ""
    while page := await store.records(KIND, after=after, limit=500):
        for record in page:
            yield _decode(record.value)
        after = page[-1].key


def has_secret(kept: Sequence[Secret], secret: str, now: int) -> bool:
    """Whether `secret` is one of those that are kept and good. Constant time for each: no comparison is left out."""
    given, found = digest(secret), False
    for each in kept or (Secret(_NOBODY, 1),):
        same = hmac.compare_digest(each.hash, given)
        found |= same and (each.expires == 0 or now < each.expires)
    return found


def new_id() -> str:
    """An id for a client: 128 random bits in hexadecimal digits."""
    return secrets.token_hex(16)


def new_secret() -> tuple[str, Secret]:
    """A secret to give out once, and what is kept of it."""
    plain = secrets.token_urlsafe(32)
    return plain, Secret(digest(plain))


def kept(client: Client, expect: int = ABSENT) -> RecordChange:
    """What has to be committed to keep a new client, or one that was changed (`expect` is then its revision)."""
    return RecordChange(KIND, client.id, _encode(client), expect, (opened_in(client.opened),) if client.opened else ())


def opened_in(hour: int) -> str:
    """The tag of clients that registered themselves in an hour since the epoch."""
    return f"opened:{hour}"


def rotated(client: Client, now: int, keep_old: int) -> tuple[str, Client]:
    """A new secret and the client with it; the newest of the old ones is good for `keep_old` microseconds more (0: no longer).

    Raises ValueError where the client has no secret.
    """
    if not client.secrets:
        raise ValueError(f"the client {client.id} has no secret ({client.auth_method})")
    plain, new = new_secret()
    old = client.secrets[0]
    until = min(old.expires or now + keep_old, now + keep_old)
    remaining = (Secret(old.hash, until),) if until > now else ()
    return plain, msgspec.structs.replace(client, secrets=(new, *remaining))


def told(text: str, client: Client, by: str = "fhir-server client", address: str = "") -> Happening:
    """What was done to a client, for the audit."""
    return Happening("client", text, subject=by, client=client.id, address=address, about=(f"client/{client.id}",))
