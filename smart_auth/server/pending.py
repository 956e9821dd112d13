"""A request for authorization that was checked and now waits for the user: to sign in, to choose a patient, to consent.

Its id is 256 random bits; what is kept is found by their SHA-256. It can be answered once (`smart_auth.server.authorizations`).
"""

import secrets
from contextlib import suppress
from typing import Protocol

import msgspec

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.errors import invalid_request
from smart_auth.scopes import Scopes, parse_scopes
from smart_auth.service import Service
from smart_auth.tokens import digest

KIND = "pending-authorization"
UNSEEN = 10 * 60 * 1_000_000
"""Microseconds within which somebody has to sign in: until then it may be a stranger's, and strangers can send many."""
LASTS = 30 * 60 * 1_000_000
"""Microseconds for which the user has time, from the request on."""
_LONGEST_ID = 64


class SignedIn(Protocol):
    """What this part needs to know of a user's sign-in: when it was, in microseconds."""

    @property
    def started(self) -> int:
        """Microseconds since the epoch."""


class Pending(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for, checked. `scopes` are those that are possible for the client (a role narrows them further); `left_out` names
    others that were asked for, for the user to read.

    `launch` is the id of the launch context of an EHR launch, `patient` and `encounter` (ids) come from it, and so does `for_user`, the
    name of the one user who may go on ("": anybody). `signed_in_after`: the user must have signed in at or after this instant
    (microseconds; prompt=login, max_age).
    """

    id: str
    client: str
    redirect_uri: str
    scopes: str
    challenge: str
    state: str
    created: int
    expires: int
    left_out: str = ""
    nonce: str = ""
    launch: str = ""
    patient: str = ""
    encounter: str = ""
    for_user: str = ""
    login_hint: str = ""
    prompt: tuple[str, ...] = ()
    signed_in_after: int = 0

    @property
    def possible(self) -> Scopes:
        """The scopes that the user may grant, before the role's most."""
        return parse_scopes(self.scopes)

    @property
    def needs_encounter(self) -> bool:
        """Whether `launch/encounter` was asked for and no encounter is known."""
        return not self.encounter and any(word.partition("?")[0] == "launch/encounter" for word in self.possible.words)

    def fresh(self, session: SignedIn) -> bool:
        """Whether the sign-in is recent enough for what was asked; if not, the user signs in again."""
        return session.started >= self.signed_in_after


def about_a_patient(scopes: Scopes) -> bool:
    """Whether a token with these scopes needs a patient in its context."""
    words = {word.partition("?")[0] for word in scopes.words}
    return "launch/patient" in words or any(scope.level == "patient" for scope in scopes.resources)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Pending).decode


def new_pending_id() -> str:
    """An id that nobody guesses."""
    return secrets.token_urlsafe(32)


async def keep_pending(service: Service, pending: Pending) -> None:
    """Keep it until it is answered or its time is up. Raises StoreUnavailable."""
    await service.commit(RecordChange(KIND, digest(pending.id), _encode(pending), ABSENT, expires=pending.expires))


async def load_pending(service: Service, id: str) -> Pending:
    """What waits under this id. Raises OAuthError (a page) where nothing does, StoreUnavailable."""
    return (await find_pending(service, id))[0]


async def find_pending(service: Service, id: str) -> tuple[Pending, int]:
    """What waits under this id, and its revision, for answering it. Raises OAuthError, StoreUnavailable."""
    record = await service.store.record(KIND, digest(id)) if 0 < len(id) <= _LONGEST_ID else None
    if record is None:
        raise invalid_request("This sign-in has taken too long or was finished already: go back to the app and start again")
    return _decode(record.value), record.revision


async def seen(service: Service, pending: Pending, revision: int) -> tuple[Pending, int]:
    """The same and its revision, kept for as long as a user has time: somebody has signed in. Raises OAuthError, StoreUnavailable."""
    until = pending.created + LASTS
    if pending.expires >= until:
        return pending, revision
    with suppress(Conflict):  # another window of the same browser did it at this moment, or it was answered
        await service.commit(changed(msgspec.structs.replace(pending, expires=until), revision))
    return await find_pending(service, pending.id)


def changed(pending: Pending, revision: int) -> RecordChange:
    """The change that keeps what the user has chosen on the way (a patient), over the revision that was read."""
    return RecordChange(KIND, digest(pending.id), _encode(pending), revision, expires=pending.expires)


def answered(id: str, revision: int) -> RecordChange:
    """The end of it: who commits this first has answered it, everybody else gets Conflict."""
    return RecordChange(KIND, digest(id), None, revision)
