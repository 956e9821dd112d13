"""What a user has granted to an app, from the consent until it is revoked or its last token has expired.

Every code and token that comes of it is tagged `grant:ID`. Whatever is issued changes the authorization's record too, so that a token
that is being issued while the authorization is revoked is never given out.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.happenings import Happening
from smart_auth.service import Service
from smart_auth.tokens import KIND as ACCESS_TOKEN

KIND: Final = "authorization"
CODE: Final = "authorization-code"
REFRESH: Final = "refresh-token"
OF_GRANT: Final = (ACCESS_TOKEN, REFRESH, CODE)
"""Kinds of records tagged `grant:ID`."""
REUSE_NOTICED: Final = 30 * 86_400_000_000
"""Microseconds for which a code or refresh token that was used is kept, so that its second use is noticed; after that it is unknown, and
refused all the same. Without a bound an app that refreshes every hour would leave thousands."""


class Authorization(msgspec.Struct, frozen=True, omit_defaults=True):
    """One consent. `scopes` is exactly what was granted, `patient` and `encounter` ids of its context, `extra` further members of the token
    response. `session` is the id of the sign-in that it was given in, `auth_time` when that was, `methods` how. Instants are microseconds
    since the epoch; `used` is when a token was last issued. `revision` is the stored record's (0: not stored yet)."""

    id: str
    client: str
    client_name: str
    user: str
    scopes: str
    created: int
    expires: int
    auth_time: int
    methods: tuple[str, ...] = ()
    session: str = ""
    patient: str = ""
    encounter: str = ""
    used: int = 0
    extra: dict[str, Any] = {}
    revision: int = 0

    @property
    def tags(self) -> tuple[str, ...]:
        """What its record is found by."""
        return (f"user:{self.user}", f"client:{self.client}")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Authorization).decode


def new_id() -> str:
    """An id for an authorization: 128 random bits."""
    return secrets.token_hex(16)


def kept(authorization: Authorization) -> RecordChange:
    """The change that stores it: a new one (revision 0), or over the revision that was read."""
    value = _encode(msgspec.structs.replace(authorization, revision=0))
    expect = authorization.revision or ABSENT
    return RecordChange(KIND, authorization.id, value, expect, authorization.tags, authorization.expires)


async def find_authorization(service: Service, id: str) -> Authorization | None:
    """The authorization, or None for one that was revoked or has expired. Raises StoreUnavailable."""
    record = await service.store.record(KIND, id) if 0 < len(id) <= 64 else None
    return None if record is None else msgspec.structs.replace(_decode(record.value), revision=record.revision)


async def authorizations_of(service: Service, user: str) -> Sequence[Authorization]:
    """What the user has granted, newest first. Raises StoreUnavailable."""
    return await _tagged(service, f"user:{user}")


async def _tagged(service: Service, tag: str) -> list[Authorization]:
    records = await service.tagged(KIND, tag)
    found = [msgspec.structs.replace(_decode(record.value), revision=record.revision) for record in records]
    return sorted(found, key=lambda each: -each.created)


async def revoke_authorization(service: Service, id: str, *, by: str = "", why: str = "it was revoked", address: str = "") -> bool:
    """End an authorization with all its codes and tokens in one commit. Returns whether there was one. Raises StoreUnavailable.

    `by`: who did it, for the audit ("": the user). Access tokens in use count for a second more in other processes (`tokens.KEPT`).
    """
    while (found := await find_authorization(service, id)) is not None:
        changes = [RecordChange(KIND, id, None, found.revision), *await _issued(service, id)]
        happening = Happening(
            "revoke",
            f"{why}: what {found.client_name} was allowed ({found.scopes})",
            subject=by or found.user,
            client=found.client,
            address=address,
            about=(f"client/{found.client}", f"user/{found.user}"),
            patient=f"Patient/{found.patient}" if found.patient else "",
        )
        try:
            await service.commit(*changes, happening=happening)
        except Conflict:  # a token was issued meanwhile: it has to go as well
            continue
        for change in changes:
            if change.kind == ACCESS_TOKEN:
                service.tokens.forget(change.key)
        return True
    return False


async def revoke_all(service: Service, *, user: str = "", client: str = "", by: str = "", why: str = "it was revoked") -> int:
    """End every authorization of a user, or of a client, or of a user for a client. Returns how many there were.

    Raises StoreUnavailable."""
    found = await _tagged(service, f"user:{user}" if user else f"client:{client}")
    wanted = [each for each in found if not user or not client or each.client == client]
    return sum([await revoke_authorization(service, each.id, by=by, why=why) for each in wanted])


async def _issued(service: Service, id: str) -> list[RecordChange]:
    """The end of everything that was issued for the authorization."""
    return [RecordChange(kind, record.key, None) for kind in OF_GRANT for record in await service.tagged(kind, f"grant:{id}")]
