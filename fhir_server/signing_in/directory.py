"""What sign-in knows of FHIR resources: whom a reference names, which patients there are, which parameters a type has."""

from collections.abc import Sequence
from typing import Any

import msgspec

from fhir_server.context import Context
from resources.outcomes import FhirError
from resources.store import Version
from search.parse import parse
from search.query import Query
from smart_auth.service import Person

_decode = msgspec.json.Decoder().decode


class StoredDirectory:
    """smart_auth.service.Directory over a store and its index."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def person(self, reference: str) -> Person | None:
        """See Directory.person."""
        type, _, id = reference.partition("/")
        if type not in self._ctx.routes.types or not id:
            return None
        version = await self._ctx.store.read(type, id)
        return _person(version) if version is not None and version.body is not None else None

    async def patients(self, text: str, most: int) -> Sequence[Person]:
        """See Directory.patients: by id, identifier, birth date (YYYY-MM-DD), or the words of a name."""
        query = self._query(text.strip()[:100], most)
        if query is None:
            return ()
        found = await self._ctx.index.search(query)
        return [_person(v) for v in await self._ctx.store.read_many(found.keys) if v is not None and v.body is not None]

    def types(self) -> frozenset[str]:
        """See Directory.types."""
        return self._ctx.routes.types

    def problem(self, type: str, pairs: Sequence[tuple[str, str]]) -> str | None:
        """See Directory.problem."""
        try:
            self._ctx.parameters.of(type)
            parse(type, pairs, parameters=self._ctx.parameters, base_url=self._ctx.settings.bases)
        except (KeyError, FhirError) as refusal:
            return str(refusal)
        return None

    def _query(self, text: str, most: int) -> Query | None:
        pairs = [("_count", str(most)), ("_total", "none")]
        if not text:
            pass
        elif len(text) == 10 and text[4] == text[7] == "-" and text.replace("-", "").isdigit():
            pairs.append(("birthdate", text))
        else:
            pairs += [("name", word.replace("\\", "").replace(",", "\\,")) for word in text.split()]
        try:
            return parse("Patient", pairs, parameters=self._ctx.parameters, base_url=self._ctx.settings.bases).query
        except FhirError:
            return None


def _person(version: Version) -> Person:
    document: dict[str, Any] = _decode(version.body or b"{}")
    names = document.get("name", [])
    first: dict[str, Any] = names[0] if isinstance(names, list) and names else {}
    name = first.get("text") or " ".join((*first.get("given", ()), first.get("family", "")))
    return Person(f"{version.type}/{version.id}", name.strip() or f"{version.type}/{version.id}", document.get("birthDate", ""))
