"""Searches drawn from the documents themselves: real values of real parameters, and what lies beside them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from urllib.parse import urlencode

from population.oracle import Oracle, refers
from population.values import ALWAYS, compared, escaped, infix, path, written

from conformance.load import definitions
from search.clauses import allowed_modifiers
from search.compartments import within
from search.match import Document, values_of
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.parse import parse
from search.query import FACETS, Clause, Compartment, Grant, Modifier, Parsed
from search.types.composite import PARTS
from search.values import CompositeValue, LabelValue, ReferenceValue, StringValue, TokenValue, UriValue, Value

Pair = tuple[str, str]

BASE = "http://localhost:8000/fhir"
NOW = 1_780_000_000_000_000
"""What `ap` measures from, in microseconds since the epoch: an instant in 2026."""

COMPARTMENTS = ("Encounter", "Practitioner", "RelatedPerson", "Device")


@dataclass(frozen=True, slots=True)
class Search:
    """A search: the query string's parameters, the compartment that its address names ("" or `Patient/1`), and the grants of an access
    decision, each as (type, id of a Patient or "", parameters), or None where all is allowed."""

    type: str
    pairs: tuple[Pair, ...]
    owner: str = ""
    grants: tuple[tuple[str, str, tuple[Pair, ...]], ...] | None = None

    def __str__(self) -> str:
        address = f"{self.owner}/{self.type}" if self.owner else self.type
        return f"{address}?{urlencode(self.pairs)}{f' allowed: {self.grants}' if self.grants is not None else ''}"

    def read(self, parameters: Parameters) -> Parsed:
        """The Query and its includes. Raises FhirError where it cannot be asked."""
        found = self._parsed(self.type, self.pairs, parameters)
        kind, _, id = self.owner.partition("/")
        if kind == "Patient":
            found = replace(found, query=found.query.with_filter(Compartment(id)))
        elif kind:
            found = replace(found, query=found.query.with_filter(clauses=(within(kind, id, self.type, parameters),)))
        if self.grants is not None:
            grants = tuple(self._grant(type, patient, pairs, parameters) for type, patient, pairs in self.grants)
            found = replace(found, query=found.query.with_filter(allowed=grants))
        return found

    def without(self) -> Iterator["Search"]:
        """The searches with one thing less."""
        if self.owner:
            yield replace(self, owner="")
        if self.grants is not None:
            yield replace(self, grants=None)
        for number in range(len(self.pairs)):
            yield replace(self, pairs=self.pairs[:number] + self.pairs[number + 1 :])

    def _grant(self, type: str, patient: str, pairs: tuple[Pair, ...], parameters: Parameters) -> Grant:
        clauses = self._parsed(type, pairs, parameters).query.clauses if pairs else ()
        plain = tuple([clause for clause in clauses if isinstance(clause, Clause)])
        assert plain == clauses, "grants are drawn as plain clauses"
        return Grant(type, Compartment(patient) if patient else None, plain)

    def _parsed(self, type: str, pairs: Sequence[Pair], parameters: Parameters) -> Parsed:
        return parse(type, pairs, parameters=parameters, base_url=BASE, default_count=100, now=lambda: NOW)


class Asking:
    """Draws searches of the documents that the oracle knows, of the `types` given (all)."""

    def __init__(self, oracle: Oracle, parameters: Parameters, seed: int | str, types: Sequence[str] = ()) -> None:
        self._oracle, self._parameters, self._random = oracle, parameters, Random(seed)
        self._types = sorted(types or oracle.types)
        self._weights = [len(oracle.of_type(type)) ** 0.5 for type in self._types]
        self._referring: dict[str, list[tuple[Document, str]]] = defaultdict(list)
        for type in self._types:
            followed = [p for p in parameters.of(type).values() if p.includable]
            for document in oracle.of_type(type):
                for parameter in followed:
                    for target in refers(document, parameter):
                        self._referring[target].append((document, parameter.code))

    def draw(self) -> Search:
        """One more search."""
        random = self._random
        [type] = random.choices(self._types, self._weights)
        document = random.choice(self._oracle.of_type(type))
        makers = (self._plain, self._plain, self._plain, self._chain, self._has, self._filter, self._words)
        number = random.choice((1, 1, 1, 2, 2, 3))
        drawn = (random.choice(makers)(document, 2) for _ in range(number))
        pairs = [pair for pair in drawn if pair is not None]
        owner, grants = "", None
        if random.random() < 0.12:
            owner = self._owner(document)
        if random.random() < 0.12:
            grants = self._grants(document)
        return Search(type, (*pairs, *self._shape(document, pairs)), owner, grants)

    # -- one criterion

    def _plain(self, document: Document, depth: int) -> Pair | None:
        """A parameter of the document's type with a value of its own, or of another document, or without any."""
        random = self._random
        usable = [p for p in self._parameters.of(document.key.type).values() if p.searchable]
        if random.random() < 0.1:
            lacking = [p.code for p in usable if p.code not in ALWAYS and p.kind != "composite"]
            return f"{random.choice(lacking)}:missing", random.choice(("true", "false"))
        here = [p for p in usable if values_of(p.stored, document) or (p.kind == "composite" and random.random() < 0.5)]
        if not here:
            return None
        parameter = random.choice(here)
        if parameter.kind == "composite":
            return self._composite(document, parameter)
        name, value = self._modified(document, parameter)
        if random.random() < 0.25:
            other = random.choice(self._oracle.of_type(document.key.type))
            values = values_of(parameter.stored, other)
            if values and ":" not in name:
                value += f",{written(random, parameter, random.choice(values))}"
        return name, value

    def _modified(self, document: Document, parameter: SearchParameter) -> Pair:
        random = self._random
        value = random.choice(values_of(parameter.stored, document))
        allowed = sorted(allowed_modifiers(parameter, self._parameters) - {Modifier.MISSING})
        if allowed and random.random() < 0.35:
            found = self._with_modifier(document, parameter, random.choice(allowed), value)
            if found is not None:
                return found
        text = written(random, parameter, value)
        if isinstance(value, ReferenceValue) and random.random() < 0.2:
            type, _, id = value.target.partition("/")
            return f"{parameter.code}:{type}", escaped(random.choice((id, value.target)))
        return parameter.code, text

    def _with_modifier(self, document: Document, parameter: SearchParameter, modifier: Modifier, value: Value) -> Pair | None:
        random, name = self._random, f"{parameter.code}:{modifier}"
        if modifier in FACETS:
            facets = values_of(f"{parameter.stored}:{modifier}", document)
            return (name, _facet(random, random.choice(facets))) if facets else None
        if isinstance(value, TokenValue) and modifier in (Modifier.IN, Modifier.NOT_IN):
            sets = _value_sets(value.code)
            return (name, random.choice(sets)) if sets else None
        if modifier in (Modifier.ABOVE, Modifier.BELOW):
            return (name, path(random, value)) if isinstance(value, UriValue) else _target(name, value)
        if isinstance(value, StringValue):
            return name, infix(random, value) if modifier is Modifier.CONTAINS else escaped(value.exact)
        return name, written(random, parameter, value)

    def _composite(self, document: Document, parameter: SearchParameter) -> Pair | None:
        random = self._random
        below = [v for v in values_of(parameter.stored, document) if isinstance(v, CompositeValue)]
        whole = random.choice(below).parts if below and random.random() < 0.7 else None
        parts = []
        for number, component in enumerate(parameter.components):
            values = (whole[number],) if whole else values_of(component.parameter.stored, document)
            if not values or component.parameter.kind not in PARTS:
                return None
            parts.append(written(random, component.parameter, random.choice(values)))
        return parameter.code, "$".join(parts)

    def _chain(self, document: Document, depth: int) -> Pair | None:
        """A parameter of what the document refers to."""
        random = self._random
        links = [(p, end) for p, end in self._ends(document) if end.key.type in self._types]
        if not links:
            return None
        parameter, end = random.choice(links)
        inner = self._inner(end, depth)
        if inner is None:
            return None
        link = parameter.code if random.random() < 0.3 else f"{parameter.code}:{end.key.type}"
        return f"{link}.{inner[0]}", inner[1]

    def _has(self, document: Document, depth: int) -> Pair | None:
        """A parameter of what refers to the document."""
        referring = self._referring.get(document.name)
        if not referring:
            return None
        source, code = self._random.choice(referring)
        inner = self._inner(source, depth)
        return (f"_has:{source.key.type}:{code}:{inner[0]}", inner[1]) if inner is not None else None

    def _inner(self, document: Document, depth: int) -> Pair | None:
        makers: Sequence[Callable[[Document, int], Pair | None]] = (self._plain, self._plain, self._chain, self._has)
        return self._random.choice(makers if depth else makers[:2])(document, depth - 1)

    def _ends(self, document: Document) -> list[tuple[SearchParameter, Document]]:
        followed = (p for p in self._parameters.of(document.key.type).values() if p.includable)
        named = self._oracle.named
        return [(p, named[name]) for p in followed for name in sorted(refers(document, p)) if name in named]

    def _filter(self, document: Document, depth: int) -> Pair | None:
        """An expression of one to three comparisons, some of them turned round, some on what is referred to."""
        random = self._random
        parts = [part for _ in range(random.randint(1, 3)) if (part := self._comparison(document)) is not None]
        if not parts:
            return None
        text = parts[0]
        for part in parts[1:]:
            text = f"{text} {random.choice(('and', 'or'))} {part}"
        return "_filter", text

    def _comparison(self, document: Document) -> str | None:
        random, before = self._random, ""
        links = [(p, end) for p, end in self._ends(document) if end.key.type in self._types]
        if links and random.random() < 0.25:
            parameter, document = random.choice(links)
            before = f"{parameter.code}."
        usable = [
            p for p in self._parameters.of(document.key.type).values() if p.searchable and p.kind not in ("composite", "special")
        ]
        here = [p for p in usable if values_of(p.stored, document)]
        parameter = random.choice(here)
        text = f"{before}{compared(random, parameter, random.choice(values_of(parameter.stored, document)))}"
        return f"not ({text})" if random.random() < 0.15 else text

    def _words(self, document: Document, depth: int) -> Pair | None:
        """Words of the document, one or two, one after the other or not."""
        random, text = self._random, document.entry.text
        name = random.choice(("_text", "_content"))
        words = (text.narrative if name == "_text" else f"{text.narrative} {text.rest}").split() if text is not None else []
        if not words:
            return None
        at = random.randrange(len(words))
        one, other = words[at], random.choice(words)
        phrase = '"' + " ".join(words[at : at + 2]).replace('"', "") + '"'
        forms = (one, f"{one} {other}", phrase, f"{one} OR {other}", f"{one} NOT {other}", f"{one[:4]}*", f"{one},{other}")
        return name, random.choice(forms)

    # -- what is around it

    def _shape(self, document: Document, pairs: Sequence[Pair]) -> Iterator[Pair]:
        random = self._random
        if random.random() < 0.5:
            yield "_sort", ",".join(self._key(document, pairs) for _ in range(random.choice((1, 1, 2))))
        yield "_count", str(random.choice((1, 2, 3, 7, 20, 50, 100, 500)))
        if random.random() < 0.3:
            yield "_total", random.choice(("none", "estimate", "accurate"))
        for _ in range(random.choice((0, 0, 0, 1, 2))):
            found = self._include(document)
            if found is not None:
                yield found

    def _key(self, document: Document, pairs: Sequence[Pair]) -> str:
        random, sign = self._random, self._random.choice(("", "-"))
        if any(name in ("_text", "_content") for name, _ in pairs) and random.random() < 0.3:
            return f"{sign}_score"
        links = [(p, end) for p, end in self._ends(document) if end.key.type in self._types]
        before = ""
        if links and random.random() < 0.2:
            parameter, document = random.choice(links)
            before = f"{parameter.code}:{document.key.type}."
        mine = self._parameters.of(document.key.type).values()
        return f"{sign}{before}{random.choice([p.code for p in mine if p.searchable and p.kind not in ('composite', 'special')])}"

    def _include(self, document: Document) -> Pair | None:
        random, type = self._random, document.key.type
        iterate = random.choice(("", "", ":iterate"))
        referring = self._referring.get(document.name)
        if referring and random.random() < 0.5:
            source, code = random.choice(referring)
            return "_revinclude", f"{source.key.type}:{code}"
        links = [(p, end) for p, end in self._ends(document) if end.key.type in self._types]
        if not links:
            return None
        parameter, end = random.choice(links)
        forms = (f"{type}:{parameter.code}", f"{type}:{parameter.code}:{end.key.type}", f"{type}:*")
        return f"_include{iterate}", random.choice(forms)

    def _owner(self, document: Document) -> str:
        if document.entry.patients and self._random.random() < 0.7:
            return f"Patient/{self._random.choice(document.entry.patients)}"
        ends = [end.name for _, end in self._ends(document) if end.key.type in COMPARTMENTS]
        return self._random.choice(ends) if ends else ""

    def _grants(self, document: Document) -> tuple[tuple[str, str, tuple[Pair, ...]], ...]:
        random, type = self._random, document.key.type
        patients = [*document.entry.patients, random.choice(self._oracle.of_type("Patient")).key.id]
        code = random.choice([p.code for p in self._parameters.of(type).values() if p.kind == "token" and p.searchable])
        choice: tuple[tuple[str, str, tuple[Pair, ...]], ...] = (
            ("*", random.choice(patients), ()),
            (type, random.choice(patients), ()),
            (type, "", ((f"{code}:missing", random.choice(("true", "false"))),)),
            ("Patient", "", ()),
        )
        return tuple(random.sample(choice, random.randint(1, 3)))


def _facet(random: Random, value: Value) -> str:
    """A value of what only a modifier looks at: a text, an identifier in a reference, an identifier with its type."""
    if isinstance(value, LabelValue):
        return escaped(value.folded[: random.choice((2, 4, 8, 300))]) or "x"
    if isinstance(value, CompositeValue):
        type, identifier = value.parts
        assert isinstance(type, TokenValue) and isinstance(identifier, TokenValue)
        return f"{escaped(type.system)}|{escaped(type.code)}|{escaped(identifier.code)}"
    assert isinstance(value, TokenValue)
    return random.choice((f"{escaped(value.system)}|{escaped(value.code)}", escaped(value.code), f"|{escaped(value.code)}"))


def _target(name: str, value: Value) -> Pair | None:
    return (name, escaped(value.target)) if isinstance(value, ReferenceValue) else None


@cache
def _value_sets(code: str) -> list[str]:
    """A few official value sets of a moderate size that hold the code."""
    sets = ((url, systems) for url, systems in sorted(definitions().value_sets.items()) if sum(map(len, systems.values())) < 500)
    found = (url for url, systems in sets if any(code in codes for codes in systems.values()))
    return [url for url, _ in zip(found, range(5), strict=False)]
