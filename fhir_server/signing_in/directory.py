"""What sign-in knows of FHIR resources: whom a reference names, which patients and visits there are, which parameters a type has.

What it shows to somebody goes through `perform`, as a request of theirs: decided, searched and recorded like any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from fhir_server.access.narrowing import problem
from fhir_server.access.own import own_patients
from fhir_server.context import Context
from fhir_server.messages import FhirRequest, Identity
from fhir_server.perform import answer
from resources.outcomes import FhirError
from smart_auth.service import Person, Viewer, Visit

_decode = msgspec.json.Decoder().decode
_LONGEST = 100
_AT_ONCE = 50
"""Ids in one search."""

Document = dict[str, Any]


class StoredDirectory:
    """smart_auth.service.Directory over a store and its index."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def person(self, reference: str) -> Person | None:
        """See Directory.person."""
        document = await self._document(reference)
        return _person(document) if document is not None else None

    async def stands_for(self, reference: str) -> Sequence[Person]:
        """See Directory.stands_for."""
        ids = await own_patients(self._ctx.store, reference)
        found = [await self.person(f"Patient/{id}") for id in ids]
        return tuple(each for each in found if each is not None)

    async def patients(self, text: str, most: int, viewer: Viewer) -> Sequence[Person]:
        """See Directory.patients: a date (YYYY-MM-DD) is a birth date, one word may be an id or an identifier, words are those of names."""
        found: dict[str, Person] = {}
        for search in _searches(" ".join(text[:_LONGEST].split())):
            if len(found) < most:
                for document in await self._search("Patient", [*search, ("_count", str(most - len(found)))], viewer):
                    found.setdefault(document["id"], _person(document))
        return tuple(found.values())

    async def named(self, ids: Sequence[str], viewer: Viewer) -> Sequence[Person]:
        """See Directory.named."""
        found: list[Document] = []
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            search = [("_id", ",".join(map(_escaped, part))), ("_count", str(len(part)))]
            found += await self._search("Patient", search, viewer)
        return tuple(map(_person, found))

    async def visits(self, patient: str, most: int, viewer: Viewer) -> Sequence[Visit]:
        """See Directory.visits."""
        search = [("subject", f"Patient/{_escaped(patient)}"), ("_sort", "-date"), ("_count", str(most))]
        return tuple(_visit(document) for document in await self._search("Encounter", search, viewer))

    async def seen(self, reference: str, viewer: Viewer, narrowed: Mapping[str, str]) -> bool:
        """See Directory.seen."""
        type, _, id = reference.partition("/")
        search = [("_id", _escaped(id)), *((name, _escaped(value)) for name, value in narrowed.items()), ("_count", "1")]
        return bool(await self._search(type, search, viewer))

    def types(self) -> frozenset[str]:
        """See Directory.types."""
        return self._ctx.routes.types

    def problem(self, type: str, pairs: Sequence[tuple[str, str]]) -> str | None:
        """See Directory.problem."""
        return problem(type, pairs, self._ctx.settings.bases)

    async def _document(self, reference: str) -> Document | None:
        type, _, id = reference.partition("/")
        if type not in self._ctx.routes.types or not id:
            return None
        version = await self._ctx.store.read(type, id)
        return _decode(version.body) if version is not None and version.body is not None else None

    async def _search(self, type: str, pairs: Sequence[tuple[str, str]], viewer: Viewer) -> list[Document]:
        """The documents that a search of the viewer finds; none where it is refused. Raises FhirError 503."""
        query = urlencode([*pairs, ("_total", "none")])
        access = viewer.access
        who = Identity(access.subject, access.client, viewer.address, access)
        base = self._ctx.settings.base
        try:
            result = await answer(self._ctx, who, FhirRequest("GET", type, query, base=base))
        except FhirError as refusal:
            if refusal.status >= 500:
                raise
            return []
        entries = _decode(b"".join(result.body)).get("entry", ())
        return [entry["resource"] for entry in entries if entry.get("search", {}).get("mode") == "match"]


def _searches(text: str) -> list[list[tuple[str, str]]]:
    """The searches, one after the other, that find whom a text may mean."""
    if not text:
        return [[]]
    if len(text) == 10 and text[4] == text[7] == "-" and text.replace("-", "").isdigit():
        return [[("birthdate", text)]]
    words = [[("name", _escaped(word)) for word in text.split()]]
    return words if " " in text else [[("_id", _escaped(text))], [("identifier", _escaped(text))], *words]


def _escaped(value: str) -> str:
    """The value as it stands for itself in a search (https://hl7.org/fhir/R4/search.html#escaping)."""
    return "".join(f"\\{c}" if c in "\\,$|" else c for c in value)


def _person(document: Document) -> Person:
    reference = f"{document['resourceType']}/{document['id']}"
    names = document.get("name", [])
    first: Document = next((name for name in names if name.get("use") in ("official", "usual")), names[0] if names else {})
    name = first.get("text") or " ".join((*first.get("given", ()), first.get("family", "")))
    return Person(reference, name.strip() or reference, document.get("birthDate", ""))


def _visit(document: Document) -> Visit:
    concepts = (*document.get("type", ()), {"coding": [document.get("class", {})]})
    words = (concept.get("text") or _display(concept) for concept in concepts)
    what = next((word for word in words if word), "Visit")
    return Visit(f"Encounter/{document['id']}", what, document.get("period", {}).get("start", "")[:10])


def _display(concept: Document) -> str:
    return next((coding[part] for part in ("display", "code") for coding in concept.get("coding", ()) if coding.get(part)), "")
