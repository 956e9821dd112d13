"""De-identified exports (docs/adr/0026): what is asked for, and what becomes of documents.

Whose records documents lie in, and what the record of accesses says, is told from the documents themselves. Everything else is told from
what comes out: filters see no more of a document than its receiver does, so that nobody finds out by them what was taken away.
"""

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import msgspec

from conformance.load import definitions
from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.deidentifying.deidentifier import Deidentifier
from fhir_server.deidentifying.rules import rules
from fhir_server.exporting.compartments import Patients, patients_reader
from fhir_server.exporting.deidentified.binding import bound
from fhir_server.exporting.given import Given
from fhir_server.messages import Identity
from resources.documents import decode, encode
from resources.outcomes import bad_request, error
from resources.store import ABSENT, Conflict, RecordChange, ResourceStore, Version

Method = Literal["", "safe-harbor", "shifted-dates"]
"""How documents are de-identified ("": not at all)."""

PARAMETER = "_deidentify"
DATES: dict[Method, Literal["year", "shift"]] = {"safe-harbor": "year", "shifted-dates": "shift"}

KIND = "deidentifying-secret"
"""The record of the secret. It is not sealed: whoever reads the store has no need of it to know who is who."""


def read_method(ctx: Context, who: Identity, given: Given) -> Method:
    """What the caller asks for, or must have. Raises FhirError 400, 403 for less than the caller is bound to."""
    value = given.one(PARAMETER)
    if value is not None and value not in DATES:
        raise bad_request(f"{PARAMETER}={value[:64]} is not offered; there is {' and '.join(DATES)}", PARAMETER, "not-supported")
    held = bound(ctx.settings, who)
    method: Method = "shifted-dates" if value == "shifted-dates" else "safe-harbor" if value or held else ""
    if held and method == "shifted-dates" and ctx.settings.export_deidentified_dates != "shift":
        text = f"{PARAMETER}=shifted-dates is not allowed here (FHIR_EXPORT_DEIDENTIFIED_DATES); there is safe-harbor"
        raise error(403, "forbidden", text)
    if method:
        _check_others(given, held)
    return method


def _check_others(given: Given, held: bool) -> None:
    """Raises FhirError 400 or 403 for what would tell who somebody is. Not left out of account for those who are lenient: they would get
    more than they asked for."""
    if "patient" in given.values:
        text = "patient names people, so it goes with no de-identified export; ask for all, or for a Group"
        raise bad_request(text, "patient", "not-supported")
    for name in ("_since", "_until"):
        if held and name in given.values:
            text = f"{name} would tell when something was stored, of which a de-identified export keeps the year at most"
            raise error(403, "forbidden", f"{text}; leave it out")


def exported(method: Method, type: str) -> bool:
    """Whether documents of a type come out at all."""
    return not method or rules().exported(type)


async def secret_of(ctx: Context) -> bytes:
    """The store's secret, which makes pseudonyms and shifts of dates; made at the first use. Raises StoreUnavailable."""
    store = stored(ctx)
    found = await _kept(store)
    if found is None:
        with suppress(Conflict):  # another process was first
            await store.commit((), records=(RecordChange(KIND, "1", secrets.token_bytes(32), ABSENT),))
        found = await _kept(store)
        assert found is not None
    return found


async def _kept(store: ResourceStore) -> bytes | None:
    record = await store.record(KIND, "1")
    return record.value if record is not None else None


async def hiding(ctx: Context, method: Method, *, client: str, base: str, instant: int) -> "Hiding":
    """What de-identifies the documents of an export. `client` is whose it is: each has pseudonyms of its own. `base` is the FHIR base that
    it was asked at, `instant` its transactionTime (microseconds since the epoch). Raises StoreUnavailable."""
    today = datetime.fromtimestamp(instant / 1e6, UTC).date()
    made = Deidentifier(
        definitions(),
        await secret_of(ctx),
        project=client,
        dates=DATES[method],
        today=today,
        bases=(*ctx.settings.bases, base),
    )
    return Hiding(ctx, made)


class Hiding:
    """De-identifies what one part of an export has."""

    def __init__(self, ctx: Context, made: Deidentifier) -> None:
        self._ctx, self._made = ctx, made
        self._readers: dict[str, Patients] = {}

    def version(self, version: Version) -> Version | None:
        """What comes out of a live version, under its pseudonym and without the instant at which it was stored; None: nothing."""
        assert version.body is not None
        reader = self._readers.get(version.type)
        if reader is None:
            reader = self._readers[version.type] = patients_reader(self._ctx, version.type)
        document = self._made.document(version.type, decode(version.body), reader(version.id, version.body))
        if document is None:
            return None
        return msgspec.structs.replace(version, id=document["id"], instant=0, body=encode(document))

    def id(self, type: str, id: str) -> str:
        """The pseudonym of a document's id."""
        return self._made.id(type, id)
