"""Which FHIRPath a search parameter that is added to a server may use: what takes time in proportion to the document, and tells of it."""

from collections.abc import Iterator

from conformance.fhirpath import FhirPathError
from conformance.fhirpath.nodes import Binary, Call, Member, Node, Union, Variable, children_of
from conformance.fhirpath.parser import parse

FUNCTIONS = frozenset(
    (
        *("where", "all", "exists", "iif", "first", "last", "tail", "skip", "take", "single", "distinct"),
        *("extension", "resolve", "is", "as", "ofType", "hasValue", "getValue", "count", "empty", "not"),
        *("allTrue", "anyTrue", "allFalse", "anyFalse"),
        *("indexOf", "lastIndexOf", "substring", "startsWith", "endsWith", "contains", "upper", "lower", "trim", "length"),
        *(f"{to}{kind}" for to in ("to", "convertsTo") for kind in ("Boolean", "Integer", "Decimal", "String", "Date", "DateTime")),
    )
)
"""What can be called: nothing that some value keeps busy without end, and nothing whose result multiplies when it is repeated."""

_CLOCK = frozenset(("now", "today", "timeOfDay"))
_REGULAR = frozenset(("matches", "matchesFull", "replaceMatches"))
_TYPE_ARGUMENT = frozenset(("is", "as", "ofType"))


def check_expression(expression: str) -> None:
    """Raises FhirPathError for an expression that cannot be read, that may run without end on some document, that gives another value
    each time, or of which a part says nothing about the document."""
    tree = parse(expression)
    _check(tree, argument=False)
    for part in tree.operands if isinstance(tree, Union) else (tree,):
        if not any(isinstance(node, Member) for node in _read(part)):
            raise FhirPathError("this is no path: it gives the same value for every document", part.at)


def _check(tree: Node, *, argument: bool) -> None:
    if isinstance(tree, Variable) and argument:
        raise FhirPathError(
            f"%{tree.name} cannot be used in an argument: the document would be gone through for each item", tree.at
        )
    if isinstance(tree, Binary) and tree.operator in ("~", "!~"):
        raise FhirPathError(
            f"{tree.operator} compares each item with each other one; use =, with lower() where case must not count", tree.at
        )
    if isinstance(tree, Call):
        _check_call(tree)
        if tree.target is not None:
            _check(tree.target, argument=argument)
        for each in tree.arguments:
            _check(each, argument=True)
    else:
        for child in children_of(tree):
            _check(child, argument=argument)


def _check_call(tree: Call) -> None:
    if tree.name in _REGULAR:
        text = "a regular expression may take without end on some values. Use startsWith(), endsWith(), contains() or ="
        raise FhirPathError(f"{tree.name}() cannot be used in a search parameter: {text}", tree.at)
    if tree.name in _CLOCK:
        text = "it gives another value each time, but values are indexed once"
        raise FhirPathError(f"{tree.name}() cannot be used in a search parameter: {text}", tree.at)
    if tree.name not in FUNCTIONS or (tree.name == "iif" and tree.target is not None):
        text = f"these functions can: {', '.join(sorted(FUNCTIONS))}"
        raise FhirPathError(f"{tree.name}() cannot be used in a search parameter; {text}", tree.at)


def _read(tree: Node) -> Iterator[Node]:
    """The nodes that read the document: not the names of types."""
    yield tree
    below = children_of(tree)
    if isinstance(tree, Call) and tree.name in _TYPE_ARGUMENT:
        below = below[: len(below) - len(tree.arguments)]
    for child in below:
        yield from _read(child)
