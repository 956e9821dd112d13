"""Conditions compiled for one type: closures (node, %resource, %rootResource) -> true, false or None (an empty result).

This is the quick half of the engine, made for invariants and `where(…)`: conditions on paths whose types are known. Whatever is not
handled here goes to `fallback`, the complete engine, for just that part of the tree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from conformance.fhirpath.budget import TEXT, spend
from conformance.fhirpath.functions import regular
from conformance.fhirpath.model import SYSTEM_OF_PRIMITIVE, is_primitive, is_subtype, reference_type
from conformance.fhirpath.nodes import Binary, Call, FhirPathError, Literal, Member, Node, Scope, TypeTest, Union
from conformance.fhirpath.static import Branch, StaticScope, Truth, branches, counted
from conformance.fhirpath.temporal import Temporal, compare, parse_datetime, parse_time

Scalar = Callable[[Any, Any, Any], Any]
"""The one value of a path, None if there is none, MANY if there are more."""

MANY: Final = object()
_LONG: Final = 1_000
"""Characters from which on it is counted that a text is gone through."""
_TEMPORAL: Final = frozenset(("date", "dateTime", "instant", "time"))
_NUMERIC: Final = frozenset(("integer", "positiveInt", "unsignedInt", "decimal"))
_ORDERS: Final[dict[str, Callable[[Any], bool]]] = {
    "<": lambda order: order < 0, ">": lambda order: order > 0, "<=": lambda order: order <= 0, ">=": lambda order: order >= 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conditions:
    """Compiles conditions. `fallback(tree, type)`: the complete engine's truth of a tree evaluated on a node of a type."""

    fallback: Callable[[Node, str], Truth]
    resource_type: str | None
    search: bool = False

    def truth(self, tree: Node, type_name: str) -> Truth:
        """The condition as a closure; always succeeds if the fallback does."""
        compiled = self._known(tree, type_name)
        return compiled if compiled is not None else self.fallback(tree, type_name)

    def _known(self, tree: Node, type_name: str) -> Truth | None:
        if isinstance(tree, Literal) and isinstance(tree.value, bool):
            value = tree.value
            return lambda _node, _resource, _root: value
        if isinstance(tree, Binary):
            return self._binary(tree, type_name)
        if isinstance(tree, Call) and tree.name in _CALLS:
            return _CALLS[tree.name](self, tree, type_name)
        if isinstance(tree, TypeTest) and tree.operator == "is":
            return self._is(tree, type_name)
        if isinstance(tree, Member | Scope):
            return self._boolean_path(tree, type_name)
        return None

    # paths

    def paths(self, tree: Node | None, type_name: str) -> tuple[Branch, ...] | None:
        """The branches of a static path; without a tree, the node itself."""
        scope = StaticScope(type_name, self.resource_type, self.search, self.truth)
        return branches(tree if tree is not None else Scope(0, 1, "this"), scope)

    def scalar(self, tree: Node, type_name: str) -> tuple[str, Scalar] | None:
        """(FHIR type, getter of the one value) of a path with one branch of a primitive type."""
        found = self.paths(tree, type_name)
        if found is None or len(found) != 1 or not is_primitive(found[0].type):
            return None
        return found[0].type, _scalar(found[0])

    def _boolean_path(self, tree: Node, type_name: str) -> Truth | None:
        found = self.scalar(tree, type_name)
        if found is None or found[0] != "boolean":
            return None
        get = found[1]

        def value(node: Any, resource: Any, root: Any) -> bool | None:
            found = get(node, resource, root)
            if found is MANY:
                raise FhirPathError("one true or false is needed here, there are more", tree.at)
            return found  # type: ignore[no-any-return]

        return value

    # operators

    def _binary(self, tree: Binary, type_name: str) -> Truth | None:
        if tree.operator in _CONNECTIVES:
            return _CONNECTIVES[tree.operator](self.truth(tree.left, type_name), self.truth(tree.right, type_name))
        if tree.operator in ("=", "!="):
            equal = self._equal(tree, type_name)
            return equal if equal is None or tree.operator == "=" else _not(equal)
        if tree.operator in _ORDERS:
            return self._order(tree, type_name)
        if tree.operator == "in":
            return self._in(tree, type_name)
        return None

    def _equal(self, tree: Binary, type_name: str) -> Truth | None:
        if isinstance(tree.right, Literal) and isinstance(tree.right.value, str | bool):
            return self._equal_literal(tree.left, tree.right.value, type_name)
        if self.is_condition(tree.left) and self.is_condition(tree.right):
            a, b = self.truth(tree.left, type_name), self.truth(tree.right, type_name)

            def same(node: Any, resource: Any, root: Any) -> bool | None:
                left, right = a(node, resource, root), b(node, resource, root)
                return None if left is None or right is None else left == right

            return same
        numbers = self._numbers(tree, type_name)
        if numbers is None:
            return None
        return _both(*numbers, lambda a, b: a == b)

    def _equal_literal(self, tree: Node, literal: str | bool, type_name: str) -> Truth | None:
        if isinstance(literal, bool):
            return self._equal_boolean(tree, literal, type_name)
        found = self.scalar(tree, type_name)
        if found is None or SYSTEM_OF_PRIMITIVE.get(found[0], "String") != "String":
            return None
        get = found[1]

        def equal(node: Any, resource: Any, root: Any) -> bool | None:
            value = get(node, resource, root)
            return None if value is None else value == literal

        return equal

    def _equal_boolean(self, tree: Node, literal: bool, type_name: str) -> Truth | None:
        """Of a choice too: `Patient.deceased != false` is true of a dateTime."""
        found = self.paths(tree, type_name)
        if not found or not all(is_primitive(b.type) and not b.many for b in found):
            return None
        getters = [_scalar(b) for b in found]

        def equal(node: Any, resource: Any, root: Any) -> bool | None:
            for get in getters:
                value = get(node, resource, root)
                if value is not None:
                    return value is literal
            return None

        return equal

    @staticmethod
    def is_condition(tree: Node) -> bool:
        """Does the tree always give one boolean or nothing, by its form?"""
        if isinstance(tree, Binary):
            return tree.operator in ("=", "!=", "in", *_CONNECTIVES, *_ORDERS)
        return isinstance(tree, Call) and tree.name in _CALLS

    def _order(self, tree: Binary, type_name: str) -> Truth | None:
        decide = _ORDERS[tree.operator]
        numbers = self._numbers(tree, type_name)
        if numbers is not None:
            return _both(*numbers, lambda a, b: decide(0 if a == b else -1 if a < b else 1))
        left, right = self.scalar(tree.left, type_name), self.scalar(tree.right, type_name)
        if left is None or right is None or left[0] not in _TEMPORAL or (left[0] == "time") != (right[0] == "time"):
            return None
        if right[0] not in _TEMPORAL:
            return None

        def order(a: str, b: str) -> bool | None:
            found = temporal_order(a, b)
            return None if found is None else decide(found)

        return _both(left[1], right[1], order)

    def _numbers(self, tree: Binary, type_name: str) -> tuple[Scalar, Scalar] | None:
        left, right = self._number(tree.left, type_name), self._number(tree.right, type_name)
        return None if left is None or right is None else (left, right)

    def _number(self, tree: Node, type_name: str) -> Scalar | None:
        """An integer or decimal: a literal, a path, `count()`, or the sum of such."""
        if isinstance(tree, Literal) and isinstance(tree.value, int | Decimal) and not isinstance(tree.value, bool):
            value = tree.value
            return lambda _node, _resource, _root: value
        if isinstance(tree, Call) and tree.name == "count" and not tree.arguments:
            return self._count(tree, type_name)
        if isinstance(tree, Binary) and tree.operator == "+":
            numbers = self._numbers(tree, type_name)
            return None if numbers is None else _both(*numbers, lambda a, b: a + b)
        found = self.scalar(tree, type_name)
        return found[1] if found is not None and found[0] in _NUMERIC else None

    def _count(self, tree: Call, type_name: str) -> Scalar | None:
        found = self.paths(tree.target, type_name)
        if found is None or any(is_primitive(b.type) and not b.key for b in found):
            return None
        counts = [_counter(b) for b in found]
        if len(counts) == 1:
            return counts[0]
        return lambda node, resource, root: sum(count(node, resource, root) for count in counts)

    def _in(self, tree: Binary, type_name: str) -> Truth | None:
        literals = tree.right.operands if isinstance(tree.right, Union) else (tree.right,)
        found = self.scalar(tree.left, type_name)
        if found is None or SYSTEM_OF_PRIMITIVE.get(found[0], "String") != "String":
            return None
        if not all(isinstance(t, Literal) and isinstance(t.value, str) for t in literals):
            return None
        values, get = frozenset(t.value for t in literals if isinstance(t, Literal)), found[1]

        def within(node: Any, resource: Any, root: Any) -> bool | None:
            value = get(node, resource, root)
            if value is MANY:
                raise FhirPathError("`in` needs one value at its left, there are more", tree.at)
            return None if value is None else value in values

        return within

    def _is(self, tree: TypeTest, type_name: str) -> Truth | None:
        """`resolve() is T`, decided by the text of the reference."""
        call, wanted = tree.operand, tree.type.removeprefix("FHIR.")
        if not isinstance(call, Call) or call.name != "resolve" or not self.search:
            return None
        found = self.paths(call.target, type_name)
        if found is None or len(found) != 1 or found[0].many or found[0].source != "this":
            return None
        get = found[0].get

        def is_(node: Any, _resource: Any, _root: Any) -> bool | None:
            references = get(node)
            kind = reference_type(references[0]) if references else None
            return None if kind is None else kind == wanted or is_subtype(kind, wanted)

        return is_

    # functions

    def exists(self, tree: Call, type_name: str) -> Truth | None:
        if tree.arguments:
            return self._any(tree, type_name)
        target = tree.target
        if isinstance(target, Call) and target.name == "where" and len(target.arguments) == 1:
            return self._any(Call(tree.at, tree.height, target.target, "exists", target.arguments), type_name)
        if isinstance(target, Union):
            parts = [self.exists(Call(tree.at, tree.height, t, "exists", ()), type_name) for t in target.operands]
            known = [p for p in parts if p is not None]
            return _any_of(known) if len(known) == len(parts) else None
        found = self.paths(target, type_name)
        if found is None or any(is_primitive(b.type) and not b.key for b in found):
            return None
        return _existence(found)

    def _any(self, tree: Call, type_name: str) -> Truth | None:
        found = self.paths(tree.target, type_name)
        if found is None or len(tree.arguments) != 1 or any(is_primitive(b.type) for b in found):
            return None
        return _any_of([_quantified(b, self.truth(tree.arguments[0], b.type), stop=True) for b in found])

    def empty(self, tree: Call, type_name: str) -> Truth | None:
        if tree.arguments:
            return None
        found = self.exists(tree, type_name)
        return None if found is None else _not(found)

    def negation(self, tree: Call, type_name: str) -> Truth | None:
        if tree.target is None or tree.arguments or not self.is_condition(tree.target):
            return None
        return _not(self.truth(tree.target, type_name))

    def all_(self, tree: Call, type_name: str) -> Truth | None:
        found = self.paths(tree.target, type_name)
        if found is None or len(found) != 1 or len(tree.arguments) != 1 or is_primitive(found[0].type):
            return None
        return _not(_quantified(found[0], self.truth(tree.arguments[0], found[0].type), stop=False))

    def has_value(self, tree: Call, type_name: str) -> Truth | None:
        found = None if tree.target is None or tree.arguments else self.scalar(tree.target, type_name)
        if found is None:
            return None
        get = found[1]
        return lambda node, resource, root: get(node, resource, root) not in (None, MANY)

    def text(self, tree: Call, type_name: str) -> Truth | None:
        """startsWith, contains, matches with a literal."""
        found = None if tree.target is None else self.scalar(tree.target, type_name)
        if found is None or len(tree.arguments) != 1 or not isinstance(tree.arguments[0], Literal):
            return None
        argument = tree.arguments[0].value
        if not isinstance(argument, str) or SYSTEM_OF_PRIMITIVE.get(found[0], "String") != "String":
            return None
        test, get = _text_test(tree, argument), found[1]

        def holds(node: Any, resource: Any, root: Any) -> bool | None:
            value = get(node, resource, root)
            if value is MANY:
                raise FhirPathError(f"{tree.name}() needs one string, there are more", tree.at)
            return None if value is None else test(value)

        return holds


def _text_test(tree: Call, argument: str) -> Callable[[str], bool]:
    if tree.name == "matches":
        regular.check(argument)
        return lambda value: regular.found(argument, value)
    if tree.name == "startsWith":
        return lambda value: value.startswith(argument)

    def contains(value: str) -> bool:
        if len(value) > _LONG:
            spend(len(value) >> TEXT)
        return argument in value

    return contains


def temporal_order(a: str, b: str) -> int | None:
    """-1, 0, 1 of two dates, dateTimes, instants or times as written; None where their precision leaves it open."""
    if len(a) == len(b) and a[10:] == b[10:]:
        return 0 if a == b else -1 if a < b else 1
    left, right = (parse_datetime(a), parse_datetime(b)) if a[4:5] == "-" or ":" not in a else (parse_time(a), parse_time(b))
    if not isinstance(left, Temporal) or not isinstance(right, Temporal):
        return None
    return compare(left, right)


def _at_source(branch: Branch, function: Callable[[Any], Any]) -> Scalar:
    if branch.source == "resource":
        return lambda _node, resource, _root: function(resource)
    return lambda node, _resource, _root: function(node)


def _scalar(branch: Branch) -> Scalar:
    get, key = branch.get, branch.key
    if branch.parent is None and key and not branch.many:
        if branch.source == "this":
            return lambda node, _resource, _root: node.get(key)
        return _at_source(branch, lambda node: node.get(key))

    def one(node: Any) -> Any:
        values = get(node)
        return None if not values else values[0] if len(values) == 1 else MANY

    return _at_source(branch, one)


def _existence(found: tuple[Branch, ...]) -> Truth:
    if not found:
        return lambda _node, _resource, _root: False
    first = found[0]
    if first.key and all(b.key and b.parent is first.parent and b.source == first.source for b in found):
        keys = frozenset(k for b in found for k in ((b.key, "_" + b.key) if is_primitive(b.type) else (b.key,)))
        return _has_key(first, keys)
    return _any_of([_existence((b,)) if b.key else _some(b) for b in found])


def _some(branch: Branch) -> Truth:
    get = branch.get
    return _at_source(branch, lambda node: bool(get(node)))


def _has_key(branch: Branch, keys: frozenset[str]) -> Truth:
    parent = branch.parent
    if parent is not None:
        return _at_source(branch, lambda node: any(not keys.isdisjoint(item) for item in counted(parent(node))))
    if branch.source != "this":
        return _at_source(branch, lambda node: not keys.isdisjoint(node))
    if len(keys) == 1:
        key = branch.key
        return lambda node, _resource, _root: key in node
    if len(keys) == 2:
        key, other = branch.key, "_" + branch.key
        if other in keys:
            return lambda node, _resource, _root: key in node or other in node
    return lambda node, _resource, _root: not keys.isdisjoint(node)


def _counter(branch: Branch) -> Scalar:
    get, parent, key = branch.get, branch.parent, branch.key
    if not is_primitive(branch.type):
        return _at_source(branch, lambda node: len(get(node)))

    def size(value: Any) -> int:
        return len(value) if isinstance(value, list) else int(value is not None)

    def of(item: Any) -> int:
        return max(size(item.get(key)), size(item.get("_" + key)))

    return _at_source(branch, of if parent is None else lambda node: sum(of(item) for item in counted(parent(node))))


def _any_of(conditions: list[Truth]) -> Truth:
    if len(conditions) == 1:
        return conditions[0]
    return lambda node, resource, root: any(c(node, resource, root) for c in conditions)


def _quantified(branch: Branch, criterion: Truth, *, stop: bool) -> Truth:
    """Is there an item for which the criterion is true (`stop`), or for which it is not true (not `stop`)?"""
    get, source = branch.get, branch.source

    def quantified(node: Any, resource: Any, root: Any) -> bool:
        items = counted(get(node if source == "this" else resource))
        return any((criterion(item, resource, root) is True) is stop for item in items)

    return quantified


def _both(left: Scalar, right: Scalar, combine: Callable[[Any, Any], Any]) -> Scalar:
    def both(node: Any, resource: Any, root: Any) -> Any:
        a = left(node, resource, root)
        if a is None:
            return None
        b = right(node, resource, root)
        if b is None:
            return None
        if a is MANY or b is MANY:
            raise FhirPathError("one value is needed at each side of the operator, there are more")
        return combine(a, b)

    return both


def _not(condition: Truth) -> Truth:
    def negated(node: Any, resource: Any, root: Any) -> bool | None:
        value = condition(node, resource, root)
        return None if value is None else not value

    return negated


def _and(left: Truth, right: Truth) -> Truth:
    def both(node: Any, resource: Any, root: Any) -> bool | None:
        a = left(node, resource, root)
        if a is False:
            return False
        b = right(node, resource, root)
        return False if b is False else None if a is None or b is None else True

    return both


def _or(left: Truth, right: Truth) -> Truth:
    def either(node: Any, resource: Any, root: Any) -> bool | None:
        a = left(node, resource, root)
        if a:
            return True
        b = right(node, resource, root)
        return True if b else None if a is None or b is None else False

    return either


def _xor(left: Truth, right: Truth) -> Truth:
    def one(node: Any, resource: Any, root: Any) -> bool | None:
        a, b = left(node, resource, root), right(node, resource, root)
        return None if a is None or b is None else a is not b

    return one


def _implies(left: Truth, right: Truth) -> Truth:
    def implied(node: Any, resource: Any, root: Any) -> bool | None:
        a = left(node, resource, root)
        if a is False:
            return True
        b = right(node, resource, root)
        return True if b else None if a is None or b is None else False

    return implied


_CONNECTIVES: Final[dict[str, Callable[[Truth, Truth], Truth]]] = {"and": _and, "or": _or, "xor": _xor, "implies": _implies}
_CALLS: Final[dict[str, Callable[[Conditions, Call, str], Truth | None]]] = {
    "exists": Conditions.exists, "empty": Conditions.empty, "not": Conditions.negation, "all": Conditions.all_,
    "hasValue": Conditions.has_value, "startsWith": Conditions.text, "contains": Conditions.text, "matches": Conditions.text,
}  # fmt: skip
