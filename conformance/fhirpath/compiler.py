"""Syntax tree -> closure over typed nodes: the complete language. `truth.py` and `static.py` are short cuts for what is known early."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from conformance.fhirpath.budget import BUDGET, Budget, spend
from conformance.fhirpath.functions import boundaries, collections, conversions, keys, numbers, regular, scoped, strings
from conformance.fhirpath.functions.signature import SAME, Code, Function
from conformance.fhirpath.functions.types import is_code, of_type
from conformance.fhirpath.model import definition, element, is_primitive, is_resource, is_subtype, system_of
from conformance.fhirpath.nodes import (
    Binary,
    Call,
    Empty,
    FhirPathError,
    Indexer,
    Literal,
    Member,
    Node,
    Scope,
    TypeTest,
    Unary,
    Union,
    Variable,
)
from conformance.fhirpath.operators import EXACT, OPERATORS
from conformance.fhirpath.quantity import Quantity
from conformance.fhirpath.values import (
    UCUM,
    Collection,
    Environment,
    Item,
    boolean,
    charge,
    distinct,
    property_of,
    single,
    single_integer,
    type_of,
)
from conformance.rules.narrative import problems


def _html_checks(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    texts = [v.value for v in found if isinstance(v, Item)]
    return [all(isinstance(t, str) and not problems(t) for t in texts)]


FUNCTIONS: Final[dict[str, Function]] = {
    **collections.FUNCTIONS, **strings.FUNCTIONS, **numbers.FUNCTIONS, **boundaries.FUNCTIONS, **conversions.FUNCTIONS,
    "htmlChecks": Function(_html_checks, result="System.Boolean", work=64),
}  # fmt: skip
_BUILDERS: Final[dict[str, tuple[int, int, scoped.Builder]]] = {**scoped.BUILDERS, **keys.BUILDERS}
_BOOLEAN: Final = frozenset(("System.Boolean",))
_BOOLEAN_OPERATORS: Final = frozenset(("=", "!=", "~", "!~", "<", ">", "<=", ">=", "and", "or", "xor", "implies", "in", "contains"))
_CONSTANTS: Final = {"ucum": UCUM, "sct": "http://snomed.info/sct", "loinc": "http://loinc.org"}
_PATTERNS: Final = frozenset(("matches", "matchesFull", "replaceMatches"))
_PREFIXES: Final = {"vs-": "http://hl7.org/fhir/ValueSet/", "ext-": "http://hl7.org/fhir/StructureDefinition/"}
_UNORDERED: Final = frozenset(("children", "descendants"))


class Compiler:
    """`strict`: names that no type can have are errors, `as` takes single items, FHIR types are not System types."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict

    def code(self, tree: Node, this: Code) -> Code:
        """The closure of a tree, for a scope whose `$this` is like `this`. Raises FhirPathError for what cannot be."""
        spend(1 if this.types is None else 1 + len(this.types))
        return _FORMS[type(tree)](self, tree, this)

    def _literal(self, tree: Literal, _this: Code) -> Code:
        value = tree.value
        return Code(lambda _env: [value], frozenset((f"System.{type_of(value).name}",)))

    def _empty(self, _tree: Empty, _this: Code) -> Code:
        return Code(lambda _env: [], frozenset())

    def _scope(self, tree: Scope, this: Code) -> Code:
        if tree.name == "this":
            return Code(lambda env: env.this, this.types, this.ordered)
        if tree.name == "index":
            return Code(lambda env: [] if env.index is None else [env.index], frozenset(("System.Integer",)))
        return Code(lambda env: env.total)

    def _variable(self, tree: Variable, _this: Code) -> Code:
        name = tree.name
        if name in _VARIABLES:
            return Code(_VARIABLES[name])
        constant = _CONSTANTS.get(name)
        for prefix, base in _PREFIXES.items():
            if name.startswith(prefix):
                constant = base + name.removeprefix(prefix)
        if constant is not None:
            return Code(lambda _env: [constant], frozenset(("System.String",)))

        def looked_up(env: Environment) -> Collection:
            if name not in env.variables:
                raise FhirPathError(f"the variable %{name} is not set", tree.at)
            value = env.variables[name]
            return value if isinstance(value, list) else [value]

        return Code(looked_up)

    # paths

    def _member(self, tree: Member, this: Code) -> Code:
        name = tree.name
        if tree.target is not None:
            return self._property(self.code(tree.target, this), name, tree.at)
        here = Code(lambda env: env.this, this.types, this.ordered)
        if not name[:1].isupper() or definition(name) is None:
            return self._property(here, name, tree.at)
        if self.strict and this.types is not None and not any(_may_be(t, name) for t in this.types):
            raise FhirPathError(f"the expression begins at {name}, but is evaluated on {' or '.join(sorted(this.types))}", tree.at)
        return Code(lambda env: [v for v in env.this if isinstance(v, Item) and is_subtype(v.type, name)], this.types, this.ordered)

    def _property(self, target: Code, name: str, at: int) -> Code:
        types = _property_types(target.types, name)
        if self.strict and types is not None and not types and target.types:
            raise FhirPathError(f"{' or '.join(sorted(target.types))} has no element {name}", at)
        run = target.run

        def children(env: Environment) -> Collection:
            found = run(env)
            if len(found) == 1:
                return property_of(found[0], name)
            if (budget := BUDGET.get()) is not None:
                return _children_of_each(found, name, budget)
            return [child for item in found for child in property_of(item, name)]

        return Code(children, types, target.ordered)

    def _indexer(self, tree: Indexer, this: Code) -> Code:
        target, index = self.code(tree.target, this), self.code(tree.index, this)

        def picked(env: Environment) -> Collection:
            at = single_integer(index.run(env), "[ ]")
            found = [] if at is None or at < 0 else target.run(env)
            spend(len(found))
            return [] if at is None else found[at : at + 1]

        return Code(picked, target.types, target.ordered)

    # operators

    def _unary(self, tree: Unary, this: Code) -> Code:
        operand = self.code(tree.operand, this)
        negative = tree.operator == "-"

        def signed(env: Environment) -> Collection:
            value = single(operand.run(env), tree.operator)
            if value is None:
                return []
            if isinstance(value, Quantity):
                return [Quantity(value.value.copy_negate(), value.unit, value.calendar) if negative else value]
            if isinstance(value, Decimal):
                return [EXACT.minus(value) if negative else value]
            if isinstance(value, bool) or not isinstance(value, int):
                raise FhirPathError(f"{tree.operator!r} needs a number", tree.at)
            return [-value if negative else value]

        return Code(signed, operand.types)

    def _binary(self, tree: Binary, this: Code) -> Code:
        left, right = self.code(tree.left, this).run, self.code(tree.right, this).run
        operate = OPERATORS[tree.operator]
        types = _BOOLEAN if tree.operator in _BOOLEAN_OPERATORS else None
        lazy = {"and": False, "or": True}.get(tree.operator)
        if lazy is None:
            return Code(_operated(tree.operator, left, right), types)

        def short(env: Environment) -> Collection:
            first = left(env)
            return [lazy] if boolean(first, tree.operator) is lazy else operate(first, right(env))

        return Code(short, types)

    def _union(self, tree: Union, this: Code) -> Code:
        operands = [self.code(t, this) for t in tree.operands]
        types = [o.types for o in operands]
        known = None if None in types else frozenset[str]().union(*(t for t in types if t is not None))
        runs = [o.run for o in operands]

        def united(env: Environment) -> Collection:
            found = [v for run in runs for v in run(env)]
            if (budget := BUDGET.get()) is not None:
                charge(budget, found, deep=True)
            return distinct(found)

        return Code(united, known, all(o.ordered for o in operands))

    def _type_test(self, tree: TypeTest, this: Code) -> Code:
        target = self.code(tree.operand, this)
        if tree.operator == "is":
            return is_code(target, tree.type, tree.at, strict=self.strict)
        return of_type(target, tree.type, tree.at, strict=self.strict, one=True)

    # functions

    def _call(self, tree: Call, this: Code) -> Code:
        here = Code(lambda env: env.this, this.types, this.ordered)
        target = here if tree.target is None else self.code(tree.target, this)
        if tree.name in _BUILDERS:
            least, most, build = _BUILDERS[tree.name]
            _check_arguments(tree, least, most)
            return build(self, tree, target, here)
        function = FUNCTIONS.get(tree.name)
        if function is None:
            raise FhirPathError(f"there is no function {tree.name}()", tree.at)
        _check_arguments(tree, function.least, function.most)
        self._check_input(tree, function, target)
        if tree.name in _PATTERNS:
            _check_pattern(tree)
        arguments = [self.code(a, this).run for a in tree.arguments]
        types = target.types if function.result == SAME else frozenset((function.result,)) if function.result else None
        return Code(_applied(function, target.run, arguments), types, target.ordered and tree.name not in _UNORDERED)

    def _check_input(self, tree: Call, function: Function, target: Code) -> None:
        if not self.strict:
            return
        if function.ordered and not target.ordered:
            raise FhirPathError(f"{tree.name}() needs an order, and this collection has none", tree.at)
        if function.input and target.types and not any(_converts(t, function.input) for t in target.types):
            raise FhirPathError(f"{tree.name}() needs a {function.input.lower()}, not {' or '.join(sorted(target.types))}", tree.at)


def _check_pattern(tree: Call) -> None:
    """A regular expression, and a substitute, that stand in the path: what is wrong with them is told before there is any document."""
    texts = [each.value for each in tree.arguments if isinstance(each, Literal) and isinstance(each.value, str)]
    if len(texts) == len(tree.arguments):
        regular.check(*texts)


def _children_of_each(found: Collection, name: str, budget: Budget) -> Collection:
    made: Collection = []
    for item in found:
        children = property_of(item, name)
        budget.spend(1 + len(children))
        made += children
    return made


def _operated(
    operator: str, left: Callable[[Environment], Collection], right: Callable[[Environment], Collection]
) -> Callable[[Environment], Collection]:
    operate = OPERATORS[operator]
    each_with_each = operator in ("~", "!~")

    def operated(env: Environment) -> Collection:
        a, b = left(env), right(env)
        budget = BUDGET.get()
        if budget is not None:
            before = budget.left
            charge(budget, a, deep=True)
            first = before - budget.left
            charge(budget, b, deep=True)
            if each_with_each:
                budget.spend(first * (before - first - budget.left))
        return operate(a, b)

    return operated


def _applied(
    function: Function, target: Callable[[Environment], Collection], arguments: list[Callable[[Environment], Collection]]
) -> Callable[[Environment], Collection]:
    run, deep, work = function.run, function.deep, function.work

    def applied(env: Environment) -> Collection:
        found, given = target(env), [a(env) for a in arguments]
        budget = BUDGET.get()
        if budget is None:
            return run(found, given, env)
        for each in (found, *given):
            charge(budget, each, deep=deep, work=work)
        made = run(found, given, env)
        charge(budget, made)
        return made

    return applied


def _check_arguments(tree: Call, least: int, most: int) -> None:
    if not least <= len(tree.arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise FhirPathError(f"{tree.name}() takes {wanted} argument(s), not {len(tree.arguments)}", tree.at)


def _may_be(name: str, wanted: str) -> bool:
    """Could a node of static type `name` be a `wanted`? An abstract type could."""
    return is_subtype(name, wanted) or is_subtype(wanted, name)


def _converts(name: str, system_type: str) -> bool:
    if name.startswith("System."):
        return name == f"System.{system_type}" or name in ("System.Date", "System.DateTime", "System.Time")
    if is_primitive(name):
        return system_of(name) == system_type or system_of(name) in ("Date", "DateTime", "Time")
    return False


def _property_types(types: frozenset[str] | None, name: str) -> frozenset[str] | None:
    """Types of `name` of those types; empty if none of them has it, None if that cannot be told."""
    if types is None:
        return None
    made: set[str] = set()
    for type_name in types:
        if type_name == "System.TypeInfo":
            made.add("System.String")
            continue
        found = element(type_name, name)
        if found is not None:
            made |= {"id"} if name == "id" and is_resource(type_name) else set(found.json.values())
        elif (known := definition(type_name)) is not None and known.abstract:
            return None
    return frozenset(made)


_VARIABLES: Final[dict[str, Callable[[Environment], Collection]]] = {
    "resource": lambda env: [env.resource],
    "rootResource": lambda env: [env.root],
    "context": lambda env: env.context,
}
_FORMS: Final[dict[type[Node], Callable[[Compiler, Any, Code], Code]]] = {
    Literal: Compiler._literal, Empty: Compiler._empty, Scope: Compiler._scope, Variable: Compiler._variable,
    Member: Compiler._member, Call: Compiler._call, Indexer: Compiler._indexer, Unary: Compiler._unary, Binary: Compiler._binary,
    Union: Compiler._union, TypeTest: Compiler._type_test,
}  # fmt: skip
