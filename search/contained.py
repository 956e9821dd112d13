"""Resources inside others (`contained`), as documents for which conditions hold or not (https://hl7.org/fhir/R4/search.html#contained).

A resource and those in it are a world of their own: they refer to each other by fragments (`#m1`, `#`), and nothing outside refers
into it. What they refer to outside, the index is asked about by `Settling`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec

from resources.documents import decode, members
from resources.store import Key, Version
from search.extract import Extractor
from search.index import SearchIndex
from search.match import Document, matches, targets
from search.parameters import Parameters
from search.query import AnyOf, Chain, Clause, Condition, Modifier, Negation, Query, Term, Text, added
from search.text.words import text_of
from search.values import ReferenceValue, TokenValue

INNER = "~"
"""Begins the ids by which contained resources are referred to here; no resource has such an id."""

_AT_ONCE = 500
"""Resources outside that the index is asked about in one search."""

_items = msgspec.json.Decoder(list[msgspec.Raw])


def reading(query: Query, extractor: Extractor) -> Extractor:
    """The Extractor for containers that a query is asked about: with the parameters beside the official ones that it names."""
    named = added((query,))
    return extractor.with_added(named) if named else extractor


class Container:
    """A resource (a live version) that contains others; the `search.match.World` of its conditions."""

    def __init__(self, version: Version, extractor: Extractor) -> None:
        assert version.body is not None
        self.version, self._extractor = version, extractor
        self._whole = decode(version.body)
        self._parts: list[dict[str, Any]] = self._whole.pop("contained", [])
        self._known: dict[str, list[Document]] = {}
        names = {"#": f"{version.type}/{version.id}"}
        names.update({f"#{part['id']}": f"{part['resourceType']}/{_inner(part)}" for part in self._parts if "id" in part})
        for each in (self._whole, *self._parts):
            _point(each, names)

    def of_type(self, type: str) -> Iterable[Document]:
        """See `search.match.World`: the resource itself and those in it."""
        if type not in self._known:
            found = [self._document(part, _inner(part)) for part in self._parts if part["resourceType"] == type]
            own = [self._document(self._whole, self.version.id)] if type == self.version.type else []
            self._known[type] = [*found, *own]
        return self._known[type]

    @property
    def itself(self) -> Document:
        """The resource that contains the others."""
        *_, own = self.of_type(self.version.type)
        return own

    def found(self, query: Query) -> list[tuple[int, Document]]:
        """The contained resources for which the query's (settled) conditions hold, in their order, with their numbers."""
        places = [number for number, part in enumerate(self._parts) if part["resourceType"] == query.type]
        documents = zip(places, self.of_type(query.type), strict=False)  # the resource itself comes last
        return [(number, document) for number, document in documents if matches(query, document, self)]

    def part(self, number: int) -> tuple[str, str, bytes]:
        """Type, id ("" where it has none) and bytes, as they were sent, of a contained resource."""
        part = self._parts[number]
        return part["resourceType"], part.get("id", ""), self._bytes[number]

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [bytes(raw) for raw in _items.decode(members(self.version.body or b"{}")["contained"])]

    def _document(self, whole: dict[str, Any], id: str) -> Document:
        """A resource of this world. Contained ones were last updated when what they are in was."""
        type: str = whole["resourceType"]
        entry = self._extractor.extract(type, whole)
        entry.text = text_of(whole)
        return Document(Key(type, id), entry, self.version.instant)


def _inner(part: dict[str, Any]) -> str:
    return f"{INNER}{part.get('id', '')}"


def _point(element: Any, names: Mapping[str, str]) -> None:
    """References by fragments become references by the names of this world."""
    if isinstance(element, list):
        for each in element:
            _point(each, names)
    elif isinstance(element, dict):
        for each in element.values():
            _point(each, names)
        fragment = element.get("reference")
        if isinstance(fragment, str) and fragment in names:
            element["reference"] = names[fragment]


@dataclass(slots=True)
class Settling:
    """Makes conditions ones that can be told within each of `containers`: chains that lead out of them become lists of what there
    is outside and fulfils the rest, with access as `query` has it. `asked` counts the searches that took."""

    index: SearchIndex
    parameters: Parameters
    query: Query
    containers: Sequence[Container]
    asked: int = 0

    async def settled(self) -> Query:
        """The query for `Container.found`. May raise what searches do."""
        clauses = tuple([await self._settle(condition) for condition in self.query.clauses])
        return replace(self.query, clauses=clauses, compartments=(), allowed=None)  # these are about the containers

    async def _settle(self, condition: Condition) -> Condition:
        if isinstance(condition, Clause):
            return _with_inner_ids(condition) if condition.parameter.code == "_id" else condition
        if isinstance(condition, Text):
            return condition
        if isinstance(condition, Negation):
            return Negation(await self._settle(condition.condition))
        inside = replace(condition, conditions=tuple([await self._settle(each) for each in condition.conditions]))
        if not isinstance(condition, Chain):
            return inside  # a Has too: only what is in the same container refers to a contained resource
        terms = tuple([Term(ReferenceValue(name)) for name in await self._outside(condition)])
        ways = [Clause(parameter, Modifier.NONE, terms) for parameter in condition.parameters if terms]
        return AnyOf((*ways, inside))

    async def _outside(self, chain: Chain) -> list[str]:
        """What the containers and what is in them refer to outside, as far as the chain's conditions hold for it: `Type/id`."""
        own = (document for container in self.containers for document in container.of_type(chain.parameters[0].type))
        named = {name.partition("/") for document in own for name in targets(chain.parameters, document)}
        ids = sorted(id for type, _, id in named if type == chain.target and not id.startswith(INNER))
        parameter = self.parameters.of(chain.target)["_id"]
        found: list[str] = []
        for start in range(0, len(ids), _AT_ONCE):
            terms = tuple(Term(TokenValue("", id)) for id in ids[start : start + _AT_ONCE])
            clauses = (*chain.conditions, Clause(parameter, Modifier.NONE, terms))
            asked = Query(chain.target, clauses, count=len(terms), total="none", allowed=self.query.allowed)
            found += [f"{key.type}/{key.id}" for key in (await self.index.search(asked)).keys]
            self.asked += 1
        return found


def _with_inner_ids(clause: Clause) -> Clause:
    """A clause of `_id` that means contained resources by their own ids as well."""
    ids = [(term, term.value) for term in clause.terms if isinstance(term.value, TokenValue)]
    inner = [replace(term, value=TokenValue(value.system, f"{INNER}{value.code}")) for term, value in ids]
    return replace(clause, terms=(*clause.terms, *inner))
