"""A FHIR request and its answer as plain values: handlers know nothing of HTTP's wire, so a batch calls them the same way."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

import msgspec

from resources.store import Version
from smart_auth.access import Access

Return = Literal["minimal", "representation", "OperationOutcome"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a user (`subject`) through an app (`client`), or a client on its own account.

    `address` is the caller's network address. `access` is what the caller's token stands for; None where nobody is asked (`--auth off`) and
    for the server's own commands. `anonymous`: tokens are asked for, and none came."""

    subject: str = "anonymous"
    client: str = "anonymous"
    address: str = ""
    access: Access | None = field(default=None, hash=False)
    anonymous: bool = False


@dataclass(slots=True)
class Trail:
    """What is known of the record of one request. `recorded`: its AuditEvent is in a commit. `interaction`: what the body turned the
    request into (a transaction, where the row of the table says batch). `purpose`: what the caller wants it for, a code of
    http://terminology.hl7.org/CodeSystem/v3-ActReason (`BTG`), "" where nobody said; `reason` why, in the
    caller's words. `job`: the job that it begins, or that does it, as a path (`$job/ID`), with the file that is written."""

    recorded: bool = False
    interaction: str = ""
    purpose: str = ""
    reason: str = ""
    job: str = ""

    def of_entry(self) -> "Trail":
        """A trail for an entry of this request's Bundle, which is for the same purpose."""
        return Trail(purpose=self.purpose, reason=self.reason)


class FhirRequest(msgspec.Struct, frozen=True):
    """One interaction, asked over HTTP or by a Bundle entry.

    `path` and `query` are relative to the FHIR base, undecoded (`Patient/1`, `name=a&_count=5`). `type`, `id`, `version` and
    `operation` are the decoded parts that the route found. `headers` have lower-case names. `base` is the FHIR base URL without a
    slash at the end. `body` is the unpacked request body, b"" if none. `trail` is the same for all copies of a request.

    (A Struct, because one is made in a tenth of the time that a frozen dataclass takes.)
    """

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    base: str = ""
    type: str = ""
    id: str = ""
    version: str = ""
    operation: str = ""
    trail: Trail = msgspec.field(default_factory=Trail)

    def having(self, **changes: object) -> "FhirRequest":
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class Answered(NamedTuple):
    """A version that the answer to a write is about; `own`: the request itself brought all that it says."""

    type: str
    id: str
    version: int
    own: bool


@dataclass(slots=True)
class FhirResult:
    """An interaction's answer. `body` is a whole JSON document in one or several pieces, or empty; where there is a `stream`, its pieces
    are the body instead, sent as they come (`fhir_server/rest/streaming.py`).

    `version` and `instant` (microseconds since the epoch) become ETag and Last-Modified; `location` is relative to the base.
    `touched` are the references ("Patient/1") that the AuditEvent names, `told` the versions that were read or found: it names them and
    the patients that they are about. `answered` is what a write's answer is about, kept with it for those who ask again.
    """

    status: int
    body: tuple[bytes, ...] = ()
    version: int | None = None
    instant: int | None = None
    location: str | None = None
    content_type: str = "application/fhir+json"
    headers: dict[str, str] = field(default_factory=dict)
    touched: tuple[str, ...] = ()
    told: Sequence[Version] = ()
    answered: tuple[Answered, ...] = ()
    stream: AsyncGenerator[bytes, None] | None = None


C = TypeVar("C")

Handler = Callable[[C, Identity, FhirRequest], Awaitable[FhirResult]]
"""What carries out an interaction or operation. C: what it works with (`fhir_server/context.py`). Raises FhirError."""
