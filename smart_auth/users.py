"""Users: who may sign in, as whom, and with which factors. A Record each, under the normalised name.

A user is tied to a Patient, Practitioner, RelatedPerson or Person (`fhirUser` of SMART App Launch,
https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#scopes-for-requesting-identity-data).
"""

import re
import unicodedata
from typing import Final

import msgspec

from resources.store import Record, RecordChange, ResourceStore
from smart_auth.tokens import digest

KIND: Final = "user"
LONGEST_NAME: Final = 100
FHIR_USER: Final = re.compile(r"(Patient|Practitioner|RelatedPerson|Person)/[A-Za-z0-9.\-]{1,64}", re.ASCII)
EMAIL: Final = re.compile(r"[^@\s\x00-\x1f<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252}[A-Za-z0-9])?", re.ASCII)


class Passkey(msgspec.Struct, frozen=True):
    """One WebAuthn credential: its id and public key (base64url), how often it has signed, what its owner calls it, when it was added
    (microseconds since the epoch)."""

    id: str
    key: str
    count: int = 0
    label: str = ""
    added: int = 0


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """One user. `name` is normalised, `role` one of smart_auth.roles.ROLES, `fhir_user` a reference or "".

    `password` is an Argon2id hash ("": no sign-in by password). `totp` is the sealed secret of one-time passwords, `totp_last` the last
    time slot whose code was used, `recovery` the hashes of recovery codes that are left. `second_factor_required`: whatever the role.
    Sessions that began before `sessions_from` are void; `signed_in` is the last sign-in (both microseconds since the epoch).
    `outside` is the subject at an outside OpenID provider. `revision` is the stored record's (0: not stored yet).
    """

    name: str
    role: str
    fhir_user: str = ""
    display: str = ""
    email: str = ""
    password: str = ""
    totp: str = ""
    totp_last: int = 0
    recovery: tuple[str, ...] = ()
    passkeys: tuple[Passkey, ...] = ()
    second_factor_required: bool = False
    disabled: bool = False
    sessions_from: int = 0
    signed_in: int = 0
    outside: str = ""
    revision: int = 0

    @property
    def has_second_factor(self) -> bool:
        """Whether a password alone is not enough (recovery codes stand in for a factor, they are none)."""
        return bool(self.totp or self.passkeys)

    @property
    def shown(self) -> str:
        """What pages call the user."""
        return self.display or self.name

    def having(self, **changes: object) -> "User":
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def over(self, stored: "User") -> "User":
        """A copy that is to replace what is stored now, with its last sign-in."""
        return self.having(revision=stored.revision, signed_in=stored.signed_in)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(User).decode


def normalised(name: str) -> str:
    """The name as users are found by: NFC, without regard to case, no blanks around. "" where it cannot be one's name: empty, longer
    than LONGEST_NAME, or with characters that cannot be seen."""
    if len(name) > 4 * LONGEST_NAME:
        return ""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
    seen = all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in text)
    return text if seen and len(text) <= LONGEST_NAME else ""


def email_tag(email: str) -> str:
    """The tag by which whoever has the address is found. An address that is too long has a tag that nobody has."""
    return f"email:{digest(email.strip().casefold()[:512])}"


def kept(user: User) -> RecordChange:
    """The change that stores the user: a new one where there is none of the name yet, else over the revision that was read."""
    tags = [f"role:{user.role}"]
    if user.email:
        tags.append(email_tag(user.email))
    if user.fhir_user:
        tags.append(f"fhir-user:{user.fhir_user}")
    if user.outside:
        tags.append(f"outside:{digest(user.outside)}")
    return RecordChange(KIND, user.name, _encode(user.having(revision=0)), expect=user.revision, tags=tuple(tags))


def forgotten(user: User) -> RecordChange:
    """The change that removes the user."""
    return RecordChange(KIND, user.name, None, expect=user.revision)


def read(record: Record) -> User:
    """The user that a record keeps."""
    return _decode(record.value).having(revision=record.revision)


async def find_user(store: ResourceStore, name: str) -> User | None:
    """The user of this name (in any spelling that is normalised to it), disabled or not; None if there is none. Raises StoreUnavailable."""
    wanted = normalised(name)
    record = await store.record(KIND, wanted) if wanted else None
    return read(record) if record is not None else None


async def find_users(store: ResourceStore, *, tag: str | None = None, after: str = "", limit: int = 1000) -> list[User]:
    """Users (who have the tag), in the order of their names, those after `after`. Raises StoreUnavailable."""
    return [read(record) for record in await store.records(KIND, tag=tag, after=after, limit=limit)]
