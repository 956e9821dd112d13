"""Keyed pseudonyms: the same for the same id and secret, over all files; without the secret nobody can make or undo them
(identifiers H, N, R; 45 CFR 164.514(c))."""

import hmac
from collections.abc import Set
from functools import lru_cache
from uuid import UUID

from fhir_server.deidentifying.rules import form

SHORTEST = 32
"""Bytes that a secret must have."""

FURTHEST = 365
"""Days by which dates are shifted at most; at least it is one."""

_KEPT = 16_384
"""Pseudonyms that are remembered: most documents in a row are about the same patient, encounter and practitioner."""

_REFERENCE = form(r"(?:(https?://\S+?)/)?([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")
_PUBLIC = form(r"https?://((www\.)?hl7\.org|terminology\.hl7\.org|loinc\.org|snomed\.info)/[\w./-]{1,200}(\|[\w.-]{1,40})?")


class Pseudonyms:
    """The pseudonyms of one secret and project. `types`: the resource types; `bases`: URLs of the FHIR base that the documents are of."""

    def __init__(self, secret: bytes, project: str, types: Set[str], bases: tuple[str, ...]) -> None:
        if len(secret) < SHORTEST:
            raise ValueError(f"the secret of a de-identification has {SHORTEST} bytes or more, not {len(secret)}")
        self._ids, self._days = (hmac.digest(secret, f"{use}\0{project}".encode(), "sha256") for use in ("ids", "days"))
        self._types, self._bases = types, frozenset(base.rstrip("/") for base in bases)
        self.id = lru_cache(_KEPT)(self._id)
        self._remote = lru_cache(_KEPT)(self._reference)

    def days(self, patient: str) -> int:
        """The days by which dates of the patient (an id) are shifted: 1 to 365."""
        return 1 + int.from_bytes(hmac.digest(self._days, patient.encode(), "sha256")[:8]) % FURTHEST

    def reference(self, text: str, contained: Set[str]) -> str | None:
        """What stands in the place of `Reference.reference`; None for a search or anything else that names no resource, and where the
        contained resource that it means is not among `contained`."""
        if text[:1] == "#":
            return self.local(text[1:], contained)
        return self._remote(text)

    def local(self, id: str, contained: Set[str]) -> str | None:
        """A reference into the document itself; `#` alone means the whole."""
        if not id:
            return "#"
        return f"#{self.id('#', id)}" if id in contained else None

    def canonical(self, text: object, contained: Set[str]) -> str | None:
        """A canonical URL: the published ones as they are, others without their version as urn:uuid."""
        if type(text) is not str or not text:
            return None
        if text[0] == "#":
            return self.local(text[1:], contained)
        return text if _PUBLIC.fullmatch(text) else self._urn(text.partition("|")[0].partition("#")[0])

    def _reference(self, text: str) -> str | None:
        if found := _REFERENCE.fullmatch(text):
            base, type, id = found.groups()
            if type not in self._types:
                return None
            return f"{type}/{self.id(type, id if base is None or base in self._bases else f'{base}/{id}')}"
        return self._urn(text) if text.startswith(("urn:uuid:", "urn:oid:")) else None

    def _id(self, type: str, id: str) -> str:
        return hmac.digest(self._ids, f"{type}/{id}".encode(), "sha256").hex()[:32]

    def _urn(self, text: str) -> str:
        return f"urn:uuid:{UUID(bytes=hmac.digest(self._ids, text.encode(), 'sha256')[:16], version=4)}"
