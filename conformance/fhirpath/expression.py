"""A compiled expression: what callers hold."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from conformance.fhirpath.budget import spend
from conformance.fhirpath.compiler import Compiler
from conformance.fhirpath.functions.signature import Code
from conformance.fhirpath.model import definition, is_resource
from conformance.fhirpath.nodes import FhirPathError, Node, count_nodes
from conformance.fhirpath.parser import parse
from conformance.fhirpath.static import Truth
from conformance.fhirpath.temporal import Temporal
from conformance.fhirpath.truth import Conditions
from conformance.fhirpath.values import Collection, Environment, Item, boolean, type_of, typed

_FHIR_OF_SYSTEM = {
    "Boolean": "boolean", "String": "string", "Integer": "integer", "Decimal": "decimal", "Date": "date", "DateTime": "dateTime",
    "Time": "time", "Quantity": "Quantity",
}  # fmt: skip

_BEGIN = 4
"""Steps that it takes to begin."""


class Expression:
    """An expression compiled for nodes of one type; made by `compile_expression`, immutable, to be shared.

    `truth(node, resource, root)`: the quick form of a condition, true, false or None for an empty result, with which an invariant has
    failed (`resource` and `root` are %resource and %rootResource). `fhir_types`: what the values can be where that is known ("boolean",
    "Reference"), else None.
    """

    __slots__ = ("_code", "_steps", "_type", "fhir_types", "truth")

    def __init__(self, type_name: str, code: Code, truth: Truth, steps: int) -> None:
        self._steps = steps
        self._type = type_name
        self._code = code
        self.truth = truth
        self.fhir_types = None if code.types is None else tuple(sorted({fhir_name(t) for t in code.types}))

    def evaluate(
        self, node: Any, *, root: Any = None, resource: Any = None, variables: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The values: JSON as it stands in the document (decimals as Decimal), System values where the expression makes them
        (bool, int, Decimal, str, Temporal, Quantity).

        `node`: a JSON value of the type compiled for. `resource`, `root`: %resource (the node itself if not given) and %rootResource
        (the resource if not given). `variables`: further `%name`s. Raises FhirPathError where the data do not go with the expression.
        """
        return [v.value if isinstance(v, Item) else v for v in self._run(node, root, resource, variables)]

    def typed(
        self, node: Any, *, root: Any = None, resource: Any = None, variables: Mapping[str, Any] | None = None
    ) -> list[tuple[str, Any]]:
        """As `evaluate`, each value with its type: "HumanName", "code" of a document's, "System.Boolean" of computed ones."""
        made = []
        for value in self._run(node, root, resource, variables):
            kind = type_of(value)
            made.append((kind.name, value.value) if isinstance(value, Item) else (f"System.{kind.name}", value))
        return made

    def _run(self, node: Any, root: Any, resource: Any, variables: Mapping[str, Any] | None) -> Collection:
        spend(self._steps)
        return _guarded(self._code.run, environment(node, self._type, resource, root, variables))


def _guarded(run: Callable[[Environment], Collection], env: Environment) -> Collection:
    try:
        return run(env)
    except (ArithmeticError, RecursionError) as error:
        raise FhirPathError("the expression goes beyond what can be calculated") from error


def fhir_name(name: str) -> str:
    """The FHIR type that a System type corresponds to ("System.Boolean": boolean); FHIR types as they are."""
    plain = name.removeprefix("System.")
    return name if plain == name else _FHIR_OF_SYSTEM.get(plain, plain)


def environment(
    node: Any, type_name: str, resource: Any = None, root: Any = None, variables: Mapping[str, Any] | None = None
) -> Environment:
    """Where an expression on a node begins."""
    here = typed(node, type_name)
    of = here if resource is None or resource is node else typed(resource, "Resource")
    top = of if root is None or root is resource else typed(root, "Resource")
    return Environment([here], of, top, [here], _moment(), variables or {})


def _moment() -> Temporal:
    now = datetime.now(UTC)
    fields = (now.year, now.month, now.day, now.hour, now.minute, now.second)
    return Temporal("DateTime", fields, f"{now.microsecond // 1000:03d}", 0, "Z")


def resource_type_of(type_name: str) -> str | None:
    """The resource type that a type belongs to by its name ("Bundle" of "Bundle.entry"); None for data types."""
    first = type_name.split(".", 1)[0]
    return first if is_resource(first) else None


@lru_cache(maxsize=64)
def conditions(resource_type: str | None, *, search: bool = False) -> Conditions:
    """The compiler of conditions on parts of a resource type (None: on parts of any); those of search parameters are read strictly."""
    return Conditions(partial(complete_truth, strict=search), resource_type, search)


def complete_truth(tree: Node, type_name: str, *, strict: bool) -> Truth:
    """A condition by the complete engine."""
    run, steps = _compiled(tree, type_name, strict=strict).run, _BEGIN + count_nodes(tree)

    def truth(node: Any, resource: Any, root: Any) -> bool | None:
        spend(steps)
        return boolean(_guarded(run, environment(node, type_name, resource, root)), "a condition")

    return truth


def _compiled(tree: Node, type_name: str, *, strict: bool) -> Code:
    this = Code(lambda env: env.this, None if is_resource(type_name) and _abstract(type_name) else frozenset((type_name,)))
    return Compiler(strict=strict).code(tree, this)


def _abstract(type_name: str) -> bool:
    found = definition(type_name)
    return found is not None and found.abstract


@lru_cache(maxsize=8_192)
def compile_expression(expression: str, type_name: str, *, strict: bool = False) -> Expression:
    """An expression for nodes of a FHIR type ("Patient", "Patient.contact", "Quantity").

    `strict`: elements that no type in question has are errors, `as` takes single items only, and a FHIR boolean is no System.Boolean.
    Without it they give nothing, all items of the type, and true: as R4's own invariants are written.
    Raises FhirPathError, with the position of what is wrong.
    """
    if definition(type_name) is None:
        raise FhirPathError(f"{type_name} is no FHIR type")
    return compile_tree(parse(expression), type_name, strict=strict)


def compile_tree(tree: Node, type_name: str, *, strict: bool) -> Expression:
    """As `compile_expression`, for what has been parsed already."""
    code = _compiled(tree, type_name, strict=strict)
    if strict:
        truth = complete_truth(tree, type_name, strict=True)
    else:
        truth = conditions(resource_type_of(type_name)).truth(tree, type_name)
    return Expression(type_name, code, truth, _BEGIN + count_nodes(tree))
