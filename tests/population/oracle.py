"""What searches find, by `search.match`, fast enough for populations: conditions are evaluated on whole sets of documents."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from resources.store import Key
from search.match import Alone, Document, SortValue, allows, matches, names_by_canonical, sort_value, targets
from search.parameter import SearchParameter
from search.query import AllOf, AnyOf, Chain, Clause, Condition, Grants, Has, Include, Negation, Query, Text
from search.values import ReferenceValue

COMPARED = 200
"""Characters of a text that it is sorted by."""

_ALONE = Alone()
_LINKS = 3
"""Most links of a chained sort key."""

Place = tuple[SortValue, ...]
"""What a document is sorted by: its values, then its clinical date."""


class Oracle:
    """Documents, and what is found among them.

    A leaf of a query means what `search.match.matches` says of it, document by document. Chains, groups and negations are put
    together here from sets, so that a chain costs one walk over the other type and not one for each document.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self.named = {document.name: document for document in documents}
        self._types: dict[str, list[Document]] = defaultdict(list)
        for document in self.named.values():
            self._types[document.key.type].append(document)

    @property
    def types(self) -> list[str]:
        """The types of which there are documents, sorted."""
        return sorted(self._types)

    def of_type(self, type: str) -> Sequence[Document]:
        """See `search.match.World`."""
        return self._types.get(type, ())

    def found(self, query: Query) -> list[Document]:
        """All documents that match, in order; the order of equal ones is the index's own."""
        documents = [d for d in self.of_type(query.type) if allows(query.compartments, query.allowed, d)]
        return self._in_order(query, self._all(query.clauses, documents, query.allowed))

    def place(self, query: Query, document: Document) -> Place:
        """What the document is sorted by in this query; of long texts as much as counts."""
        values = [self._sorted_by(query, number, document) for number in range(len(query.sort))]
        return (*(value[:COMPARED] if isinstance(value, str) else value for value in values), document.entry.date)

    def included(self, keys: Iterable[Key], asked: Sequence[Include], allowed: Grants | None) -> set[str]:
        """The addresses of what following references adds to `keys`."""
        seen = {f"{key.type}/{key.id}" for key in keys}
        newest, left, found = set(seen), list(asked), set[str]()
        while newest and left:
            led = {name for rule in left for name in self._led(rule, newest)} - seen
            newest = {name for name in led if allows((), allowed, self.named[name])}
            seen |= newest
            found |= newest
            left = [rule for rule in asked if rule.iterate]
        return found

    def _led(self, rule: Include, names: set[str]) -> Iterable[str]:
        if rule.reverse:
            wanted = {name for name in names if rule.target in (None, name.partition("/")[0])}
            ends = [self.named[name] for name in wanted if name in self.named]
            return [
                d.name
                for d in self.of_type(rule.source)
                if not wanted.isdisjoint(targets(rule.parameters, d)) or any(self._names(rule, d, end) for end in ends)
            ]
        sources = [self.named[name] for name in names if name.partition("/")[0] == rule.source and name in self.named]
        led = [name for source in sources for name in targets(rule.parameters, source) if name in self.named]
        led += [end.name for end in self.named.values() for source in sources if self._names(rule, source, end)]
        return [name for name in led if rule.target in (None, name.partition("/")[0])]

    def _names(self, rule: Include, source: Document, end: Document) -> bool:
        return any(p.canonicals for p in rule.parameters) and names_by_canonical(rule.parameters, source, end)

    def _all(self, conditions: Sequence[Condition], documents: list[Document], allowed: Grants | None) -> list[Document]:
        for condition in conditions:
            documents = self._holding(condition, documents, allowed)
        return documents

    def _holding(self, condition: Condition, documents: list[Document], allowed: Grants | None) -> list[Document]:
        if not documents:
            return []
        if isinstance(condition, Clause | Text):
            leaf = Query(documents[0].key.type, (condition,))
            return [document for document in documents if matches(leaf, document, _ALONE)]
        if isinstance(condition, AllOf):
            return self._all(condition.conditions, documents, allowed)
        if isinstance(condition, Chain):
            ends = {end.name for end in self._there(condition.target, condition.conditions, allowed)}
            return [document for document in documents if not ends.isdisjoint(targets(condition.parameters, document))]
        if isinstance(condition, Has):
            sources = self._there(condition.source, condition.conditions, allowed)
            ends = {name for source in sources for name in targets(condition.parameters, source)}
            return [document for document in documents if document.name in ends]
        inner = condition.conditions if isinstance(condition, AnyOf) else (condition.condition,)
        held = {document.name for each in inner for document in self._holding(each, documents, allowed)}
        return [document for document in documents if (document.name in held) is not isinstance(condition, Negation)]

    def _there(self, type: str, conditions: Sequence[Condition], allowed: Grants | None) -> list[Document]:
        return self._all(conditions, [d for d in self.of_type(type) if allows((), allowed, d)], allowed)

    def _sorted_by(self, query: Query, number: int, document: Document) -> SortValue:
        key = query.sort[number]
        return sort_value(key, document, _Near(self, document) if key.via else None, query.allowed)

    def _in_order(self, query: Query, documents: list[Document]) -> list[Document]:
        """Sorted by the last key first, each time keeping the order of what is equal."""
        placed = [(self.place(query, document), document) for document in documents]
        placed.sort(key=lambda pair: _number(pair[0][-1]), reverse=not query.sort or query.sort[0].descending)
        for number, key in reversed(list(enumerate(query.sort))):
            there = [pair for pair in placed if pair[0][number] is not None]
            without = [pair for pair in placed if pair[0][number] is None]
            there.sort(key=partial(_place_of, number), reverse=key.descending)
            placed = [*there, *without]
        return [document for _, document in placed]


class _Near:
    """What a document leads to, a few references far: all that sorting by what it refers to can look at."""

    def __init__(self, oracle: Oracle, document: Document) -> None:
        names, newest = {document.name}, {document.name}
        for _ in range(_LINKS):
            newest = {name for each in newest for name in referred(oracle.named[each]) if name in oracle.named} - names
            names |= newest
        self._documents = [oracle.named[name] for name in names]

    def of_type(self, type: str) -> list[Document]:
        return [document for document in self._documents if document.key.type == type]


def referred(document: Document) -> set[str]:
    """All that a document refers to by any parameter."""
    return {v.target for values in document.entry.values.values() for v in values if isinstance(v, ReferenceValue)}


def refers(document: Document, parameter: SearchParameter) -> set[str]:
    """What a document refers to by one parameter."""
    return targets((parameter,), document)


def _number(value: SortValue) -> float:
    assert isinstance(value, int | float)
    return value


def _place_of(number: int, placed: tuple[Place, Document]) -> tuple[float, str]:
    """What one sort key compares of a document."""
    return _comparable(placed[0][number])


def _comparable(value: SortValue) -> tuple[float, str]:
    assert value is not None
    return (0.0, value) if isinstance(value, str) else (value, "")
