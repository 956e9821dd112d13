"""The Query: what is asked, parsed once, as frozen values. Each index compiles the same Query to its own language.

`search/match.py` evaluates it on one document in memory and is the oracle of every index's tests.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal

from search.parameter import SearchParameter
from search.text.expression import Expression
from search.values import StringValue, Value


class Prefix(StrEnum):
    """The comparison prefixes of https://hl7.org/fhir/R4/search.html#prefix.

    With a term's interval [l, h) and a document's [low, high), a date matches if
        eq  l <= low and high <= h      ne  not eq
        gt  high > h                    ge  gt or eq        sa  low >= h
        lt  low < l                     le  lt or eq        eb  high <= l
        ap  low < h and high > l        (the term was widened when it was parsed)
    A number or quantity is exact for the ordering prefixes; with a term's value v and interval [l, h) and a document's closed
    [low, high] it matches if
        eq  l <= low and high < h       ne  not eq
        gt  high > v    ge  high >= v   sa  low > v
        lt  low < v     le  low <= v    eb  high < v
        ap  low < h and high >= l       (the term was widened when it was parsed)
    """

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"
    AP = "ap"


class Modifier(StrEnum):
    """Modifiers that a clause may carry; NONE is the plain comparison of the parameter's type.

    EQUALS (the whole folded text) and ENDS (the end of the folded text) are for strings in `_filter` alone: no name can ask for them.
    """

    NONE = ""
    EXACT = "exact"
    CONTAINS = "contains"
    MISSING = "missing"
    NOT = "not"
    TEXT = "text"
    OF_TYPE = "of-type"
    IDENTIFIER = "identifier"
    IN = "in"
    NOT_IN = "not-in"
    ABOVE = "above"
    BELOW = "below"
    EQUALS = "(equals)"
    ENDS = "(ends)"


NAMING_CODES = frozenset((Modifier.IN, Modifier.NOT_IN, Modifier.ABOVE, Modifier.BELOW))
"""With these the terms of a token clause name value sets (UriValue) or a code whose hierarchy is meant. No index sees them: between
reading and searching, such clauses become clauses with the codes themselves."""

FACETS: Mapping[Modifier, str] = MappingProxyType(
    {Modifier.TEXT: "label", Modifier.OF_TYPE: "composite", Modifier.IDENTIFIER: "token"}
)
"""The modifiers that look at values of their own, beside those of the parameter: `Entry.values` has them under the parameter's code
with the modifier (`code:text`). What they map to is what the values are, as kinds of parameters are named."""


@dataclass(frozen=True, slots=True)
class Term:
    """One of a clause's alternatives: a value and how to compare with it.

    A date, number or quantity with Prefix.AP is already widened. For tokens, `system_given` tells `|code` (True, system "") from
    `code` (False), `code_given` tells `system|` (False). For quantities, `unit_given` tells `5.4` from `5.4||mg`; value.code then
    holds the unit asked for (code or unit), value.system its system or "" (`system_given` False: any system, and the unit for
    people counts too). For references without a type, `value.target` is the bare id and `types` the allowed target types (never
    empty); otherwise `types` is empty. For composites (and `:of-type`, which is the identifier's type and its value) `parts` are the
    terms of the components, of which all must match one value's parts.
    """

    value: Value
    prefix: Prefix = Prefix.EQ
    system_given: bool = False
    code_given: bool = True
    unit_given: bool = False
    types: tuple[str, ...] = ()
    parts: tuple["Term", ...] = ()


@dataclass(frozen=True, slots=True)
class Clause:
    """One parameter of the query: it holds if any of its terms does (OR). All clauses of a Query must hold (AND).

    With Modifier.MISSING, `terms` is empty and `missing` says which is wanted. NOT holds if none of the terms does (also where the
    element is absent). BELOW on a uri holds for what lies below the term's path; other hierarchies are spelled out as conditions
    before an index sees them (`search/expansion/conditions.py`).
    """

    parameter: SearchParameter
    modifier: Modifier
    terms: tuple[Term, ...]
    missing: bool = False

    @property
    def held(self) -> str:
        """The code under which `Entry.values` has what this clause looks at."""
        code = self.parameter.stored or self.parameter.code
        return f"{code}:{self.modifier}" if self.modifier in FACETS else code


@dataclass(frozen=True, slots=True)
class Chain:
    """Holds for documents that refer, by one of `parameters`, to a document of this server of type `target` for which all
    `conditions` hold (`subject:Patient.name=ann`, https://hl7.org/fhir/R4/search.html#chaining).

    References to a version count as those to the resource. What the access decision does not allow (`Query.allowed`) is not there.
    """

    parameters: tuple[SearchParameter, ...]
    target: str
    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Has:
    """Holds for documents to which a document of type `source` refers by one of `parameters`, if all `conditions` hold for that one
    (`_has:Observation:patient:code=1234`, https://hl7.org/fhir/R4/search.html#has). Access as in a Chain."""

    source: str
    parameters: tuple[SearchParameter, ...]
    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds if one of the conditions does; of none, never."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds if all of the conditions do; of none, always."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """Holds where the condition does not."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Text:
    """Holds for documents whose words are what `expression` says (`search.text.expression.holds`): those of the narrative only
    (`_text`), or all of them (`_content`). An index that keeps no words until it is asked for them may raise
    `search.index.Preparing`. Indexes that take words in with the rest get them in `Entry.text`, from an Extractor with `texts`."""

    expression: Expression
    narrative: bool


Condition = Clause | Chain | Has | AnyOf | AllOf | Negation | Text


@dataclass(frozen=True, slots=True)
class Compartment:
    """A filter that no parameter can widen: only documents in this Patient's compartment (an access decision, the address
    `Patient/1/Observation`, $everything)."""

    patient: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access decision allows: documents of `type` ("*": of any, then without clauses) that lie in `compartment` (None:
    wherever they lie), in that of none of the patients `without` (ids), with `free` in no patient's at all, and for which all `clauses`
    hold (the query part of a SMART v2 scope)."""

    type: str
    compartment: Compartment | None = None
    clauses: tuple[Clause, ...] = ()
    without: frozenset[str] = frozenset()
    free: bool = False


Grants = tuple[Grant, ...]


def grants_of(allowed: Grants, type: str) -> Grants:
    """Those of the grants that speak of documents of `type`."""
    return tuple(grant for grant in allowed if grant.type in (type, "*"))


@dataclass(frozen=True, slots=True)
class Via:
    """One link of a chained sort: a reference parameter, and the type of the documents that it leads to."""

    parameter: SearchParameter
    target: str


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of `_sort`. Documents without a value come last in both directions.

    Ascending compares the smallest value of a document, descending the largest; dates compare their low end, strings their folded
    form, tokens their code, references their target, quantities and numbers their value. Ties: see `search.index.SearchIndex.search`.

    With `via` the values are those of the documents that these references lead to (`_sort=patient:Patient.birthdate`), with access as in
    a Chain. An index raises TooCostly where there are too many.
    """

    parameter: SearchParameter
    descending: bool
    via: tuple[Via, ...] = ()


@dataclass(frozen=True, slots=True)
class Include:
    """`_include=Source:param[:Target]` (reverse False) or `_revinclude` (reverse True).

    `parameters` is more than one for `Source:*`."""

    source: str
    parameters: tuple[SearchParameter, ...]
    target: str | None
    reverse: bool = False
    iterate: bool = False


Total = Literal["none", "cheap", "estimate", "accurate"]
"""`cheap`, where nothing was asked for: exact if counting takes little, else none."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search of one type. `count` is the page's size (0: only the total), `cursor` the place of the page after an earlier one.

    A document matches if all `clauses` (conditions of any kind) hold, it lies in all `compartments`, and at least one Grant of its
    type holds for it
    (`allowed` None: everything is allowed; empty: nothing is). With `explain` the index says in `Result.explained` what it did.
    """

    type: str
    clauses: tuple[Condition, ...] = ()
    compartments: tuple[Compartment, ...] = ()
    sort: tuple[SortKey, ...] = ()
    count: int = 20
    total: Total = "accurate"
    cursor: tuple[object, ...] | None = None
    allowed: Grants | None = None
    explain: bool = False

    def with_filter(self, *compartments: Compartment, clauses: Sequence[Condition] = (), allowed: Grants | None = None) -> "Query":
        """This query narrowed further: what it was limited to before still counts, and totals and pages follow.

        `allowed` can be given once (ValueError): two lists of which one grant each must hold are no list of grants.
        """
        if allowed is not None and self.allowed is not None:
            raise ValueError("the query has its grants already")
        within = tuple(dict.fromkeys((*self.compartments, *compartments)))
        grants = self.allowed if allowed is None else allowed
        return replace(self, compartments=within, clauses=(*self.clauses, *clauses), allowed=grants)


Contained = Literal["false", "true", "both"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query string, read. `applied` are the (name, value) pairs that count, in order, for the self link; `ignored` those that do
    not (without a value, or unknown and handled leniently), each as (name, reason). `cursor` is the sealed place in the pages, as
    `search.paging` wrote it. `hints` are sentences on what may not be meant as it is written. `contained`: whether `query` is about
    resources that stand for themselves, ones that others contain, or both; of the latter `parts` are shown, or else what they are in.
    The rest shapes the answer, not the search."""

    query: Query
    applied: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...] = ()
    includes: tuple[Include, ...] = ()
    summary: str | None = None
    elements: tuple[str, ...] = field(default=())
    cursor: str | None = None
    hints: tuple[str, ...] = ()
    contained: Contained = "false"
    parts: bool = False


def leaves(conditions: Sequence[Condition]) -> Iterator[Clause | Text]:
    """The clauses and texts that conditions are made of, those at the ends of chains too."""
    for condition in conditions:
        if isinstance(condition, Clause | Text):
            yield condition
        else:
            yield from leaves((condition.condition,) if isinstance(condition, Negation) else condition.conditions)


def added(queries: Iterable[Query], includes: Iterable[Include] = ()) -> set[SearchParameter]:
    """The parameters that were added to this server, of those that queries (grants, sort and chains too) and includes look at."""
    found: set[SearchParameter] = set()
    for query in queries:
        clauses = (clause for grant in query.allowed or () for clause in grant.clauses)
        found.update(_parameters((*query.clauses, *clauses)))
        for key in query.sort:
            found.update((key.parameter, *(via.parameter for via in key.via)))
    for include in includes:
        found.update(include.parameters)
    return {parameter for parameter in found if parameter.custom}


def _parameters(conditions: Iterable[Condition]) -> Iterator[SearchParameter]:
    for condition in conditions:
        if isinstance(condition, Clause):
            yield condition.parameter
        elif isinstance(condition, Chain | Has):
            yield from condition.parameters
            yield from _parameters(condition.conditions)
        elif not isinstance(condition, Text):
            yield from _parameters((condition.condition,) if isinstance(condition, Negation) else condition.conditions)


def types_of(conditions: Sequence[Condition]) -> frozenset[str]:
    """The types of the other documents on which conditions depend: the ends of their chains."""
    found: set[str] = set()
    for condition in conditions:
        if isinstance(condition, Chain):
            found.add(condition.target)
        elif isinstance(condition, Has):
            found.add(condition.source)
        if isinstance(condition, Negation):
            found |= types_of((condition.condition,))
        elif not isinstance(condition, Clause | Text):
            found |= types_of(condition.conditions)
    return frozenset(found)


def named(condition: Condition) -> str:
    """A condition by the names of its parameters, without the values asked for: `subject:Patient.name`, `(a or b)`."""
    if isinstance(condition, Clause):
        modifier = condition.modifier.value.strip("()")
        return f"{condition.parameter.code}{f':{modifier}' if modifier else ''}"
    if isinstance(condition, Text):
        return "_text" if condition.narrative else "_content"
    if isinstance(condition, Negation):
        return f"not {named(condition.condition)}"
    inner = [named(each) for each in condition.conditions]
    if isinstance(condition, Chain):
        return f"{condition.parameters[0].code}:{condition.target}.{' and '.join(inner)}"
    if isinstance(condition, Has):
        return f"_has:{condition.source}:{condition.parameters[0].code}:{' and '.join(inner)}"
    return f"({(' or ' if isinstance(condition, AnyOf) else ' and ').join(inner)})"


def criteria_key(query: Query) -> bytes:
    """A 16-byte hash of the type and what is asked of it, for the claims of conditional writes.

    The order of clauses and of their terms, repeated ones and other spellings of the same value (`Jos%C3%A9` and `jose`) make no
    difference; sort, page and what an access decision adds as compartments or grants do not count.
    """
    clauses = sorted({_text(clause) for clause in query.clauses})
    return blake2b("\n".join((query.type, *clauses)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _text(condition: Condition) -> str:
    if isinstance(condition, Clause):
        terms = sorted({_term_text(condition.modifier, term) for term in condition.terms})
        return repr((_name(condition.parameter), condition.modifier.value, condition.missing, terms))
    if isinstance(condition, Negation):
        return repr(("not", _text(condition.condition)))
    if isinstance(condition, Text):
        return repr(condition)
    inner = sorted({_text(each) for each in condition.conditions})
    if isinstance(condition, Chain):
        return repr(("chain", sorted(_name(p) for p in condition.parameters), condition.target, inner))
    if isinstance(condition, Has):
        return repr(("has", condition.source, sorted(_name(p) for p in condition.parameters), inner))
    return repr(("any" if isinstance(condition, AnyOf) else "all", inner))


def _name(parameter: SearchParameter) -> str:
    return parameter.stored or parameter.code


def _term_text(modifier: Modifier, term: Term) -> str:
    value: Value | str = term.value
    if isinstance(value, StringValue) and modifier is not Modifier.EXACT:
        value = value.folded
    if term.parts:
        return repr([_term_text(Modifier.NONE, part) for part in term.parts])
    flags = (term.system_given, term.code_given, term.unit_given)
    return repr((tuple(value), term.prefix.value, flags, sorted(term.types)))
