"""`_filter`: an expression over the type's search parameters (https://hl7.org/fhir/R4/search_filter.html), read as Conditions.

given eq "peter" and birthdate ge 2014-10-10        left to right, `and` and `or` bind alike
subject.name co "pet"                               chains, to every type that the reference may lead to and that has the rest
subject[active eq true].name co "pet"               what the document in between must satisfy as well
not (status eq final)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from conformance.load import definitions
from search.clauses import Notes
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import AllOf, AnyOf, Chain, Condition, Negation
from search.reading.comparisons import OPERATORS, Comparison, Impossible, compare
from search.types.text import Reading

NAME = "_filter"

MAX_LENGTH = 8_000
"""Most characters of an expression."""

MAX_DEPTH = 30
"""Most parentheses, brackets and links within one another."""

MAX_WAYS = 500
"""Most comparisons that an expression may stand for, each chain counted for every type that it may lead to."""

MAX_LOOKS = 1_000
"""Most types that the links of an expression are followed to, whether they have what follows or not."""

_GRAMMAR = r"""
    ?start: joined
    joined: _unit (LOGIC _unit)*
    _unit: negated | "(" joined ")" | comparison
    negated: "not" "(" joined ")"
    comparison: path OPERATOR (STRING | BARE)
    path: step ("." step)*
    step: NAME ["[" joined "]"]
    LOGIC: "and" | "or"
    OPERATOR: /[a-z]{2}(?!\S)/
    NAME: /[A-Za-z_][A-Za-z0-9_-]*/
    STRING: /"(\\.|[^"\\])*"/
    BARE: /[^\s")\]][^\s)\]]*/
    %ignore /\s+/
"""

_EXPECTED = {
    "NAME": "a search parameter",
    "NOT": "not (…)",
    "LPAR": "(",
    "RPAR": ")",
    "RSQB": "]",
    "LSQB": "[",
    "DOT": ".",
    "LOGIC": "and, or",
    "OPERATOR": f"a comparison ({', '.join(OPERATORS)})",
    "STRING": "a value",
    "BARE": "a value",
    "$END": "the end",
}

_Node = Tree[Token]


class _Step(NamedTuple):
    code: Token
    inner: _Node | None


class _Wrong(NamedTuple):
    """Why a text is no expression, and at which character."""

    text: str
    at: int


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


def read_filter(
    type: str, name: str, value: str, parameters: Parameters, reading: Reading, notes: Notes, shown: str
) -> Condition | None:
    """The Condition of `_filter=expression` on documents of `type`; None if it cannot be applied, with the place in `notes`."""
    if name != NAME:
        notes.refuse(shown, f"{shown}: _filter takes no modifier", "not-supported")
        return None
    try:
        if len(value) > MAX_LENGTH:
            raise Impossible(f"the expression has {len(value)} characters; at most {MAX_LENGTH} are allowed", 0, "too-costly")
        return _Reader(parameters, reading).joined(type, _tree(value), 0)
    except Impossible as problem:
        notes.refuse(shown, f"{shown}: at character {problem.at + 1}{_near(value, problem.at)}: {problem}", problem.code)
        return None


def _tree(text: str) -> _Node:
    found = _parsed(text)
    if isinstance(found, _Wrong):
        raise Impossible(*found)
    return found


@lru_cache(maxsize=8)  # a search of several types reads the same text for each
def _parsed(text: str) -> _Node | _Wrong:
    try:
        return _parser().parse(text)
    except UnexpectedInput as wrong:
        ended = isinstance(wrong, UnexpectedToken) and wrong.token.type == "$END"
        at = len(text) if ended or wrong.pos_in_stream is None else wrong.pos_in_stream
        return _Wrong(f"expected {_choice(wrong)}", at)


def _choice(wrong: UnexpectedInput) -> str:
    names: set[str] = set()
    if isinstance(wrong, UnexpectedToken):
        names = set(wrong.accepts or wrong.expected)
    elif isinstance(wrong, UnexpectedCharacters):
        names = set(wrong.allowed or ())
    words = sorted({_EXPECTED.get(name, name) for name in names})
    return " or ".join(words) if words else "something else"


def _near(text: str, at: int) -> str:
    here = text[at : at + 20]
    return f" ({here!r})" if here else " (the end)"


@dataclass(slots=True)
class _Reader:
    """One expression. `ways` counts the comparisons made so far, `looks` the types that links were followed to."""

    parameters: Parameters
    reading: Reading
    ways: int = 0
    looks: int = 0

    def joined(self, type: str, node: _Node, depth: int) -> Condition:
        """Units and the words between them, from left to right."""
        if depth > MAX_DEPTH:
            raise Impossible(f"more than {MAX_DEPTH} parts are within one another", node.meta.start_pos, "too-costly")
        units = [child for child in node.children if isinstance(child, Tree)]
        words = [str(child) for child in node.children if isinstance(child, Token)]
        left = self._unit(type, units[0], depth)
        for word, unit in zip(words, units[1:], strict=True):
            left = _both(AllOf if word == "and" else AnyOf, left, self._unit(type, unit, depth))
        return left

    def _unit(self, type: str, node: _Node, depth: int) -> Condition:
        if node.data == "joined":
            return self.joined(type, node, depth + 1)
        if node.data == "negated":
            return Negation(self.joined(type, _only(node), depth + 1))
        path, operator, value = node.children
        assert isinstance(path, Tree) and isinstance(operator, Token) and isinstance(value, Token)
        steps = [_Step(*step.children) for step in path.children if isinstance(step, Tree)]  # type: ignore[arg-type]
        if str(operator) not in OPERATORS:
            raise Impossible(f"{str(operator)!r} is no comparison; there are {', '.join(OPERATORS)}", operator.start_pos or 0)
        return self._walk(type, steps, Comparison(str(operator), operator.start_pos or 0, value), depth)

    def _walk(self, type: str, steps: Sequence[_Step], asked: Comparison, depth: int) -> Condition:
        step, *rest = steps
        at = step.code.start_pos or 0
        parameter = self.parameters.find(type, str(step.code))
        if parameter is None or not parameter.searchable:
            close = self.parameters.suggest(type, str(step.code))
            hint = f" (did you mean {' or '.join(close)}?)" if close else ""
            raise Impossible(f"{type} has no search parameter {str(step.code)[:100]!r} that a filter can use{hint}", at)
        if not rest:
            if step.inner is not None:
                raise Impossible("a filter in brackets is followed by . and a parameter of what it leads to", at)
            self.ways += 1
            if self.ways > MAX_WAYS:
                raise Impossible(f"the expression stands for more than {MAX_WAYS} comparisons", at, "too-costly")
            return compare(parameter, asked, self.parameters, self.reading)
        if not parameter.includable:
            raise Impossible(f"{type}.{step.code} is no reference that can be followed to another resource", at)
        return self._link(parameter, step, rest, asked, depth + 1)

    def _link(self, reference: SearchParameter, step: _Step, rest: Sequence[_Step], asked: Comparison, depth: int) -> Condition:
        """To every type that has the rest; what is wrong for all of them is wrong."""
        if depth > MAX_DEPTH:
            raise Impossible(f"more than {MAX_DEPTH} parts are within one another", step.code.start_pos or 0, "too-costly")
        found: list[Condition] = []
        refused: list[Impossible] = []
        for target in reference.targets or definitions().resource_types:
            self.looks += 1
            if self.looks > MAX_LOOKS:
                raise Impossible("the links of the expression may lead to too many types", step.code.start_pos or 0, "too-costly")
            try:
                inner = _parts(self.joined(target, step.inner, depth)) if step.inner is not None else ()
                found.append(Chain((reference,), target, (*inner, *_parts(self._walk(target, rest, asked, depth)))))
            except Impossible as problem:
                if problem.code == "too-costly":
                    raise
                refused.append(problem)
        if not found:
            raise max(refused, key=lambda problem: problem.at)
        return found[0] if len(found) == 1 else AnyOf(tuple(found))


def _only(node: _Node) -> _Node:
    [child] = [child for child in node.children if isinstance(child, Tree)]
    return child


def _parts(condition: Condition) -> tuple[Condition, ...]:
    """What must hold, each by itself: any of them can then be what an index begins with."""
    return condition.conditions if isinstance(condition, AllOf) else (condition,)


def _both(kind: Callable[[tuple[Condition, ...]], AllOf | AnyOf], left: Condition, right: Condition) -> Condition:
    """Two conditions joined; a row of the same word is one, so that long ones do not nest."""
    if isinstance(left, AllOf | AnyOf) and kind is type(left):
        return replace(left, conditions=(*left.conditions, right))
    return kind((left, right))
