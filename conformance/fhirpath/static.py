"""Paths whose types are known when they are compiled: closures from a JSON object straight to the values, no wrappers.

A path is a tuple of branches, one for each JSON property it can end in: `Observation.value` has eleven. What cannot be told from the
definitions alone is not compiled here (None); `compiler.py` does it with typed nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from conformance.fhirpath.budget import spend
from conformance.fhirpath.model import element, is_primitive, is_resource, is_subtype, selects, spelt_right
from conformance.fhirpath.nodes import Call, Indexer, Literal, Member, Node, Scope, TypeTest, Union, Variable, children_of

Values = list[Any]
Getter = Callable[[Any], Values]
Truth = Callable[[Any, Any, Any], bool | None]
"""(node, %resource, %rootResource) -> true, false or None for an empty result."""

MOST_BRANCHES: Final = 500
"""`extension.value.extension.value…` multiplies with each step; what has more goes to the complete engine."""
LONG: Final = 16
"""Items from which on it is counted that they are gone through: of fewer the cost is that of the expression."""
NOTHING: Final[Values] = []
"""Shared by all getters that find nothing: results are read, never changed."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Values of one type: `get(source)`, where `source` is `this`, `resource` or `root`.

    `many`: there may be more than one. `parent` and `key`: the last step, where that was a property, so that `exists()` can look at the
    key alone (and at `_key`, a primitive's extensions); `parent` is None where the property is one of the source itself.
    `place`: the way here, for comparing branches.
    """

    type: str
    get: Getter
    source: str = "this"
    many: bool = False
    parent: Getter | None = None
    key: str = ""
    place: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticScope:
    """Where an expression stands: `$this` is of `type`, %resource of `resource_type` (None: not known).

    `search`: the reading that search parameters need: a branch that belongs to another type is left out, `as` takes every value of the
    type and of those derived from it. `criterion` compiles the argument of `where` for items of a type; None if it cannot.
    """

    type: str
    resource_type: str | None
    search: bool
    criterion: Callable[[Node, str], Truth | None]


def branches(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    """The branches of a path; None if the tree is no path or its types are not known."""
    compile_ = _FORMS.get(type(tree))
    spend(5)
    return None if compile_ is None else compile_(tree, scope)


def _member(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, Member)
    if tree.target is not None:
        found = branches(tree.target, scope)
        return None if found is None else _property(found, tree.name)
    if element(scope.type, tree.name) is not None:
        return _property((_itself(scope),), tree.name)
    if tree.name[:1].isupper():
        if is_subtype(scope.type, tree.name):
            return (_itself(scope),)
        if scope.search and spelt_right(tree.name) == tree.name:
            return ()
    return None


def _itself(scope: StaticScope) -> Branch:
    return Branch(scope.type, lambda node: [node])


def _property(found: tuple[Branch, ...], name: str) -> tuple[Branch, ...] | None:
    made: list[Branch] = []
    known = not found
    for branch in found:
        if is_primitive(branch.type) and name in ("id", "extension"):
            return None  # they stand in the parent's `_name`
        definition = element(branch.type, name)
        if definition is None:
            continue
        known = True
        for key, code in definition.json.items():
            made.append(_step(branch, key, code, definition.many))
        if len(made) > MOST_BRANCHES:
            return None
    spend(len(made))
    return tuple(made) if known else None


def _step(branch: Branch, key: str, code: str, many: bool) -> Branch:
    root = not branch.place
    before = None if root else branch.get
    get = _getter(branch, key, many, nulls=many and is_primitive(code))
    return Branch(code, get, branch.source, branch.many or many, before, key, (*(branch.place or (branch.source,)), key))


def _getter(branch: Branch, key: str, many: bool, *, nulls: bool) -> Getter:
    if not branch.place:
        return _first_step(key, many, nulls)
    if branch.parent is None and not branch.many and branch.key:
        return _second_step(branch.key, key, many, nulls)
    return _later_step(branch.get, key, many, nulls)


def _first_step(key: str, many: bool, nulls: bool) -> Getter:
    def one(node: Any) -> Values:
        value = node.get(key)
        return NOTHING if value is None else [value]

    def all_of(node: Any) -> Values:
        return node.get(key) or NOTHING

    def but_null(node: Any) -> Values:
        value = node.get(key)
        if not value:
            return NOTHING
        if len(value) > LONG:
            spend(len(value))
        return value if None not in value else [v for v in value if v is not None]

    return but_null if nulls else all_of if many else one


def _second_step(first: str, key: str, many: bool, nulls: bool) -> Getter:
    second = _first_step(key, many, nulls)

    def two(node: Any) -> Values:
        middle = node.get(first)
        return NOTHING if middle is None else second(middle)

    return two


def _later_step(before: Getter, key: str, many: bool, nulls: bool) -> Getter:
    def one_each(node: Any) -> Values:
        found = before(node)
        if not found:
            return NOTHING
        if len(found) > LONG:
            spend(len(found))
        return [value for item in found if (value := item.get(key)) is not None]

    def many_each(node: Any) -> Values:
        found = before(node)
        if not found:
            return NOTHING
        if len(found) > LONG:
            spend(len(found))
        return [value for item in found for value in item.get(key, NOTHING) if value is not None or not nulls]

    return many_each if many else one_each


def _call(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, Call)
    made = _CALLS.get(tree.name)
    if made is None:
        return None
    found = (_itself(scope),) if tree.target is None else branches(tree.target, scope)
    return None if found is None else made(tree, found, scope)


def _where(tree: Call, found: tuple[Branch, ...], scope: StaticScope) -> tuple[Branch, ...] | None:
    if len(tree.arguments) != 1 or uses_variables(tree.arguments[0]):
        return None
    made = []
    for branch in found:
        criterion = scope.criterion(tree.arguments[0], branch.type)
        if criterion is None:
            return None
        made.append(_filtered(branch, criterion, ("where", tree.at)))
    return tuple(made)


def _filtered(branch: Branch, criterion: Truth, place: tuple[object, ...]) -> Branch:
    before = branch.get

    def get(node: Any) -> Values:
        return [item for item in counted(before(node)) if criterion(item, None, None)]

    return Branch(branch.type, get, branch.source, branch.many, place=(*(branch.place or (branch.source,)), *place))


def counted(items: Values) -> Values:
    """The items, counted because they are gone through."""
    spend(len(items))
    return items


def uses_variables(tree: Node) -> bool:
    """Does the tree refer to `%…`, `$index` or `$total`, that is to anything but the item it is evaluated on?"""
    if isinstance(tree, Variable) or (isinstance(tree, Scope) and tree.name != "this"):
        return True
    return any(uses_variables(child) for child in children_of(tree))


def _extension(tree: Call, found: tuple[Branch, ...], scope: StaticScope) -> tuple[Branch, ...] | None:
    if len(tree.arguments) != 1 or not isinstance(tree.arguments[0], Literal):
        return None
    url = tree.arguments[0].value
    made = _property(found, "extension")
    if made is None:
        return None
    return tuple(_filtered(b, lambda item, _resource, _root: item.get("url") == url, ("extension", url)) for b in made)


def _as_type(tree: Call, found: tuple[Branch, ...], scope: StaticScope) -> tuple[Branch, ...] | None:
    if len(tree.arguments) != 1:
        return None
    name = type_argument(tree.arguments[0])
    return None if name is None else _of_type(found, name, scope)


def type_argument(tree: Node) -> str | None:
    """`FHIR.Patient`, read as an argument of is(), as() or ofType(); None if the tree is no name."""
    if not isinstance(tree, Member):
        return None
    if tree.target is None:
        return tree.name
    before = type_argument(tree.target)
    return None if before is None else f"{before}.{tree.name}"


def _of_type(found: tuple[Branch, ...], name: str, scope: StaticScope) -> tuple[Branch, ...] | None:
    wanted = name.removeprefix("FHIR.")
    if scope.search:
        wanted = spelt_right(wanted) or wanted
        kept = tuple(b for b in found if is_subtype(b.type, wanted))
    else:
        kept = tuple(b for b in found if selects(b.type, wanted))
    if any(is_resource(b.type) and b not in kept for b in found) or spelt_right(wanted) != wanted:
        return None  # a contained or bundled resource tells its type itself
    return kept


def _type_test(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, TypeTest)
    found = branches(tree.operand, scope) if tree.operator == "as" else None
    return None if found is None else _of_type(found, tree.type, scope)


def _union(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, Union)
    if not scope.search:
        return None  # `|` leaves out what it has already: across branches that needs the values
    made: dict[object, Branch] = {}
    for operand in tree.operands:
        found = branches(operand, scope)
        if found is None:
            return None
        for branch in found:
            made.setdefault((branch.place, branch.type) if branch.place else branch, branch)
    return tuple(made.values())


def _indexer(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, Indexer)
    found = branches(tree.target, scope)
    if found is None or not isinstance(tree.index, Literal) or not isinstance(tree.index.value, int) or len(found) != 1:
        return None
    return (_at(found[0], tree.index.value),)


def _first(tree: Call, found: tuple[Branch, ...], scope: StaticScope) -> tuple[Branch, ...] | None:
    return (_at(found[0], 0),) if len(found) == 1 and not tree.arguments else None


def _at(branch: Branch, index: int) -> Branch:
    before = branch.get

    def get(node: Any) -> Values:
        return before(node)[index : index + 1]

    return Branch(branch.type, get, branch.source, place=(*(branch.place or (branch.source,)), index))


def _variable(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, Variable)
    if tree.name != "resource" or scope.resource_type is None:
        return None
    return (Branch(scope.resource_type, lambda node: [node], "resource"),)


def _this(tree: Node, scope: StaticScope) -> tuple[Branch, ...] | None:
    assert isinstance(tree, Scope)
    return (_itself(scope),) if tree.name == "this" else None


_FORMS: Final[dict[type[Node], Callable[[Node, StaticScope], tuple[Branch, ...] | None]]] = {
    Member: _member, Call: _call, TypeTest: _type_test, Union: _union, Indexer: _indexer, Variable: _variable, Scope: _this,
}  # fmt: skip
_CALLS: Final[dict[str, Callable[[Call, tuple[Branch, ...], StaticScope], tuple[Branch, ...] | None]]] = {
    "where": _where, "as": _as_type, "ofType": _as_type, "first": _first, "extension": _extension,
    "trace": lambda tree, found, scope: found,
}  # fmt: skip
