"""One expression of a view -> a closure over plain JSON: straight to the values where the types are known, else by the complete engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conformance.fhirpath.budget import BUDGET
from conformance.fhirpath.expression import Expression, compile_tree, complete_truth, conditions, fhir_name, resource_type_of
from conformance.fhirpath.functions.keys import reference_key, reference_type_of
from conformance.fhirpath.nodes import Call, FhirPathError, Node, Scope, TypeTest, Variable, children_of, substitute, variables
from conformance.fhirpath.parser import parse
from conformance.fhirpath.paths import as_json
from conformance.fhirpath.static import Branch, Getter, Truth

Values = list[Any]
Get = Callable[[Any, Any, int], Values]
"""(node, the resource that it is of, %rowIndex) -> values."""

ROW_INDEX: Final = "rowIndex"
_NODES: Final = frozenset(("resource", "rootResource", "context"))
_KNOWN: Final = _NODES | {"ucum", "sct", "loinc", ROW_INDEX}


@dataclass(frozen=True, slots=True)
class Compiled:
    """Values by their types: `types` and `gets` go together, in the order of the values. `single`: gives the one value or None, where
    there can be no more. `types` None: they cannot be told. `again`: the same node may come several times."""

    tree: Node
    types: tuple[str, ...] | None
    gets: tuple[Get, ...]
    single: Callable[[Any, Any, int], Any] | None = None
    again: bool = False


def read(expression: str, constants: Mapping[str, object], *, iterated: bool) -> Node:
    """The tree of an expression with its constants in it; outside of any iteration, `%rowIndex` is 0. Raises FhirPathError."""
    values = dict(constants) if iterated else {ROW_INDEX: 0, **constants}
    tree = substitute(parse(expression), values)
    for variable in variables(tree):
        if variable.name not in _KNOWN and not variable.name.startswith(("vs-", "ext-")):
            raise FhirPathError(f"there is no constant %{variable.name}", variable.at)
    _check_alone(tree)
    return tree


def _check_alone(tree: Node, *, asked: bool = False) -> None:
    """A view has one document at a time: of what a reference leads to only the type is known, which `is` asks for."""
    if isinstance(tree, Call) and tree.name == "resolve" and not asked:
        raise FhirPathError(
            "views join nothing: take getReferenceKey(), and join the rows; `resolve() is Patient` can be asked", tree.at
        )
    is_ = isinstance(tree, TypeTest | Call) and (tree.operator if isinstance(tree, TypeTest) else tree.name) == "is"
    for child in children_of(tree):
        _check_alone(child, asked=is_)


def compiled(tree: Node, type_name: str) -> Compiled:
    """The expression for nodes of a type. Raises FhirPathError for elements and functions that do not exist."""
    if isinstance(tree, Variable) and tree.name == ROW_INDEX:
        return Compiled(tree, ("integer",), (lambda _node, _resource, index: [index],), lambda _node, _resource, index: index)
    strict = compile_tree(tree, type_name, strict=True)
    return _known(tree, type_name) or _computed(tree, strict)


def condition(tree: Node, type_name: str) -> Truth:
    """A condition on nodes of a type. Raises FhirPathError, also for an expression that gives something other than true and false."""
    strict = compile_tree(tree, type_name, strict=True)
    if strict.fhir_types is None:
        return _checked(tree, strict)
    if any(name != "boolean" for name in strict.fhir_types):
        raise FhirPathError(f"a condition is true or false, this gives {' or '.join(strict.fhir_types)}")
    if _wanders(tree):
        return complete_truth(tree, type_name, strict=False)
    return compile_tree(tree, type_name, strict=False).truth


def _wanders(tree: Node) -> bool:
    """Does it look beyond the node that it is evaluated on? Loops over what is there may then stand within each other: only the complete
    engine counts what they do."""
    return any(variable.name in _NODES for variable in variables(tree))


def _checked(tree: Node, expression: Expression) -> Truth:
    def truth(node: Any, _resource: Any, _root: Any) -> bool | None:
        found = expression.evaluate(node)
        if len(found) > 1 or not all(isinstance(value, bool) for value in found):
            raise FhirPathError("a condition is true or false, this gives something else", tree.at)
        return found[0] if found else None

    return truth


def _known(tree: Node, type_name: str) -> Compiled | None:
    """What needs no engine."""
    if any(variable.name == ROW_INDEX for variable in variables(tree)):
        return None
    rules = conditions(resource_type_of(type_name))
    if isinstance(tree, Call) and tree.name in _KEYS:
        return _KEYS[tree.name](tree, type_name)
    wanders = _wanders(tree)
    if rules.is_condition(tree):
        return None if wanders else _truth(tree, rules.truth(tree, type_name))
    found = rules.paths(tree, type_name)
    if found is None or any(branch.source == "root" for branch in found):
        return None
    single = _single(found[0]) if len(found) == 1 else None
    return Compiled(tree, tuple(branch.type for branch in found), tuple(_get(branch) for branch in found), single, wanders)


def _truth(tree: Node, truth: Truth) -> Compiled:
    def one(node: Any, resource: Any, _index: int) -> bool | None:
        return truth(node, resource, resource)

    def get(node: Any, resource: Any, _index: int) -> Values:
        value = truth(node, resource, resource)
        return [] if value is None else [value]

    return Compiled(tree, ("boolean",), (get,), one)


def _get(branch: Branch) -> Get:
    before = branch.get
    if branch.source == "resource":
        return lambda _node, resource, _index: _once(before, resource)
    return lambda node, _resource, _index: before(node)


def _once(before: Getter, resource: Any) -> Values:
    """What a path from the resource gives, gone along once, however many nodes of the resource ask for it."""
    budget = BUDGET.get()
    if budget is None:
        return before(resource)
    if budget.known is None:
        budget.known = {}
    if before not in budget.known:
        budget.known[before] = before(resource)
    found: Values = budget.known[before]
    budget.spend(1 + len(found))
    return found


def _single(branch: Branch) -> Callable[[Any, Any, int], Any] | None:
    """The one value of a path that can have no more."""
    if branch.many or branch.source != "this" or not branch.key:
        return None
    key, parent = branch.key, branch.parent
    if parent is None:
        return lambda node, _resource, _index: node.get(key)

    def below(node: Any, _resource: Any, _index: int) -> Any:
        found = parent(node)
        return found[0].get(key) if found else None

    return below


def _computed(tree: Node, strict: Expression) -> Compiled:
    """By the complete engine, with types as far as they are known."""
    indexed = any(variable.name == ROW_INDEX for variable in variables(tree))

    def run(node: Any, resource: Any, index: int) -> list[tuple[str, Any]]:
        names = {ROW_INDEX: index} if indexed else None
        return [
            (fhir_name(name), as_json(value))
            for name, value in strict.typed(node, resource=resource, root=resource, variables=names)
            if value is not None
        ]

    def get(node: Any, resource: Any, index: int) -> list[Any]:
        return [value for _, value in run(node, resource, index)]

    if strict.fhir_types is None:
        return Compiled(tree, None, (get,))
    if len(strict.fhir_types) == 1:
        return Compiled(tree, strict.fhir_types, (get,), again=True)
    return Compiled(tree, strict.fhir_types, tuple(_of(run, name) for name in strict.fhir_types), again=True)


def _of(run: Callable[[Any, Any, int], list[tuple[str, Any]]], type_name: str) -> Get:
    return lambda node, resource, index: [value for name, value in run(node, resource, index) if name == type_name]


def _resource_key(tree: Call, _type_name: str) -> Compiled | None:
    if tree.target is not None and not (isinstance(tree.target, Scope) and tree.target.name == "this"):
        return None

    def one(node: Any, _resource: Any, _index: int) -> Any:
        return node.get("id")

    return Compiled(tree, ("id",), (lambda node, resource, index: [node["id"]] if "id" in node else [],), one)


def _reference_key(tree: Call, type_name: str) -> Compiled | None:
    found = conditions(resource_type_of(type_name)).paths(tree.target, type_name)
    if found is None or len(found) != 1 or found[0].source != "this" or found[0].type != "Reference":
        return None
    branch, wanted = found[0], reference_type_of(tree)
    before = branch.get

    def get(node: Any, _resource: Any, _index: int) -> Values:
        return [key for one in before(node) if (key := reference_key(one, wanted)) is not None]

    def one(node: Any, _resource: Any, _index: int) -> str | None:
        found = before(node)
        return reference_key(found[0], wanted) if found else None

    return Compiled(tree, ("id",), (get,), None if branch.many else one)


_KEYS: Final[dict[str, Callable[[Call, str], Compiled | None]]] = {
    "getResourceKey": _resource_key,
    "getReferenceKey": _reference_key,
}
