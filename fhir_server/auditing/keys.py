"""The keys that sign checkpoints of the audit (docs/adr/0018).

The private key is sealed with FHIR_SECRET, or is a file that FHIR_AUDIT_KEY names. Public keys are kept, each with a mark that only
whoever has FHIR_SECRET can make: a key that somebody put into the database is not believed.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from resources.store import ABSENT, ANY, Conflict, Record, RecordChange, ResourceStore
from smart_auth.sealing import Sealer, WrongSecret

KIND = "audit-key"
CURRENT = "current"
"""The record that names the key that signs now; the others are named by their ids."""


class KeyProblem(Exception):
    """A key that cannot be used; the text says which and why."""


class Kept(msgspec.Struct, frozen=True):
    """A key as it is stored: the public one as a JWK, its mark, the private one sealed (b"": it is in a file)."""

    public: dict[str, str]
    mark: bytes
    private: bytes = b""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Kept).decode


def key_id(key: OKPKey) -> str:
    """The thumbprint of the public key (RFC 7638)."""
    return str(key.thumbprint())


def read_key(path: Path) -> OKPKey:
    """An Ed25519 key, private or public, from a PEM file. Raises KeyProblem."""
    try:
        key = OKPKey.import_key(path.read_bytes())
    except OSError as problem:
        raise KeyProblem(f"{path} cannot be read: {problem.strerror}") from None
    except (JoseError, ValueError, TypeError):
        raise KeyProblem(f"{path} is no Ed25519 key in PEM (openssl genpkey -algorithm ed25519)") from None
    if key.curve_name != "Ed25519":
        raise KeyProblem(f"{path} is a key of {key.curve_name}; it must be one of Ed25519")
    return key


async def signing_key(store: ResourceStore, sealer: Sealer, file: Path | None) -> OKPKey:
    """The key that signs now: the one in the file, else the stored one, made the first time. Raises KeyProblem, StoreUnavailable."""
    if file is not None:
        key = read_key(file)
        if not key.is_private:
            raise KeyProblem(f"{file} holds a public key; FHIR_AUDIT_KEY needs the private one")
        await store.commit((), records=[_change(key, sealer, b"")])
        return key
    current = await store.record(KIND, CURRENT)
    if current is None:
        return await _make(store, sealer, ABSENT)
    name = current.value.decode()
    found = await store.record(KIND, name)
    kept = None if found is None else _decode(found.value)
    if kept is None or not kept.private:
        raise KeyProblem(f"the key {name}, which signed the audit so far, is gone (fhir-server audit rotate-key makes another)")
    try:
        return OKPKey.import_key(sealer.open(kept.private, _private(name)))
    except WrongSecret:
        raise KeyProblem(
            f"the audit's key {name} was sealed with another FHIR_SECRET, or changed; `fhir-server audit rotate-key` makes a new one"
        ) from None


async def rotate(store: ResourceStore, sealer: Sealer, event: bytes) -> OKPKey:
    """A new key that signs from now on, recorded by `event`. Raises StoreUnavailable."""
    return await _make(store, sealer, ANY, (event,))


async def public_keys(store: ResourceStore, sealer: Sealer, trusted: Sequence[OKPKey] = ()) -> tuple[dict[str, OKPKey], list[str]]:
    """The keys that are believed, by id, and the ids of those that are stored but bear no right mark. `trusted` are believed anyway."""
    believed = {key_id(key): key for key in trusted}
    doubtful = []
    async for record in _stored(store):
        if record.key == CURRENT or record.key in believed:
            continue
        try:
            kept = _decode(record.value)
            key = OKPKey.import_key(dict(kept.public))
            genuine = sealer.open(kept.mark, _public(record.key)) == key_id(key).encode() and key_id(key) == record.key
        except (WrongSecret, JoseError, msgspec.MsgspecError, ValueError):
            genuine = False
        if genuine:
            believed[record.key] = key
        else:
            doubtful.append(record.key)
    return believed, doubtful


async def _stored(store: ResourceStore) -> AsyncIterator[Record]:
    after = ""
    while page := await store.records(KIND, after=after):
        for record in page:
            yield record
        after = page[-1].key


async def _make(store: ResourceStore, sealer: Sealer, expect: int, events: Sequence[bytes] = ()) -> OKPKey:
    key = OKPKey.generate_key("Ed25519", auto_kid=False)
    private = sealer.seal(key.as_pem(private=True), _private(key_id(key)))
    try:
        named = RecordChange(KIND, CURRENT, key_id(key).encode(), expect=expect)
        await store.commit((), events=events, records=[_change(key, sealer, private), named])
    except Conflict:  # another process was first
        return await signing_key(store, sealer, None)
    return key


def _change(key: OKPKey, sealer: Sealer, private: bytes) -> RecordChange:
    public = {name: str(value) for name, value in key.as_dict(private=False).items() if name in ("kty", "crv", "x")}
    name = key_id(key)
    return RecordChange(KIND, name, _encode(Kept(public, sealer.seal(name.encode(), _public(name)), private)))


def _private(name: str) -> str:
    return f"{KIND}/{name}/private"


def _public(name: str) -> str:
    return f"{KIND}/{name}/public"
