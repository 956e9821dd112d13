"""Functions whose arguments are evaluated for each item, or only if needed (where, select, iif …)."""

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Any, Final

from conformance.fhirpath.budget import BUDGET, spend
from conformance.fhirpath.functions.signature import Code, Compiles
from conformance.fhirpath.functions.types import is_code, of_type
from conformance.fhirpath.nodes import Call, FhirPathError, Node, Unary, count_nodes
from conformance.fhirpath.operators import order_of
from conformance.fhirpath.static import type_argument
from conformance.fhirpath.values import Collection, Environment, boolean, charge, key, single

Builder = Callable[[Compiles, Call, Code, Code], Code]
"""(compiler, call, input, scope around the call) -> the compiled call."""

_BOOLEAN: Final = frozenset(("System.Boolean",))
_COMPARED: Final = 20
"""How often one is compared when a hundred thousand are sorted."""
_MOST_ITEMS: Final = 100_000
"""repeat() gives up beyond this: an expression may make new items for ever."""


def _each(run: Callable[[Environment], Collection], arguments: Sequence[Node]) -> Callable[[Environment], Collection]:
    """The items that the arguments will be evaluated for, counted: each takes as many steps as the arguments have nodes."""
    steps = 1 + sum(map(count_nodes, arguments))

    def items(env: Environment) -> Collection:
        found = run(env)
        spend(len(found) * steps)
        return found

    return items


def _holds(compiler: Compiles, tree: Node, target: Code) -> Callable[[Environment], bool]:
    run = compiler.code(tree, target).run
    return lambda env: boolean(run(env), "a condition") is True


def _counted(found: Collection) -> Collection:
    """The same, counted."""
    if (budget := BUDGET.get()) is not None:
        budget.spend(len(found))
    return found


def _where(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    run, holds = _each(target.run, call.arguments), _holds(compiler, call.arguments[0], target)

    def kept(env: Environment) -> Collection:
        return [v for i, v in enumerate(run(env)) if holds(env.on(v, i))]

    return Code(kept, target.types, target.ordered)


def _exists(compiler: Compiles, call: Call, target: Code, scope: Code) -> Code:
    run = _where(compiler, call, target, scope).run if call.arguments else target.run
    return Code(lambda env: [bool(run(env))], _BOOLEAN)


def _all(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    run, holds = _each(target.run, call.arguments), _holds(compiler, call.arguments[0], target)
    return Code(lambda env: [all(holds(env.on(v, i)) for i, v in enumerate(run(env)))], _BOOLEAN)


def _select(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    run, projection = _each(target.run, call.arguments), compiler.code(call.arguments[0], target)
    project = projection.run

    def projected(env: Environment) -> Collection:
        found = run(env)
        return [p for i, v in enumerate(found) for p in _counted(project(env.on(v, i)))]

    return Code(projected, projection.types, target.ordered and projection.ordered)


def _repeat(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    project = compiler.code(call.arguments[0], Code(target.run)).run
    run, steps = target.run, 1 + count_nodes(call.arguments[0])

    def repeated(env: Environment) -> Collection:
        made: dict[object, Any] = {}
        waiting = run(env)
        while waiting:
            spend(len(waiting) * steps)
            found = [p for i, v in enumerate(waiting) for p in _counted(project(env.on(v, i)))]
            if (budget := BUDGET.get()) is not None:
                charge(budget, found, deep=True)
            waiting = []
            for item in found:
                if (name := key(item)) not in made:
                    made[name] = item
                    waiting.append(item)
            if len(made) > _MOST_ITEMS:
                raise FhirPathError(f"repeat() finds more than {_MOST_ITEMS} items", call.at)
        return list(made.values())

    return Code(repeated)


def _iif(compiler: Compiles, call: Call, target: Code, scope: Code) -> Code:
    condition, *results = [compiler.code(a, target) for a in call.arguments]
    run = target.run if call.target is not None else (lambda env: env.this)
    yes, no = results[0].run, results[1].run if len(results) > 1 else (lambda _env: [])

    def chosen(env: Environment) -> Collection:
        found = run(env)
        if len(found) > 1:
            raise FhirPathError(f"iif() needs one item, there are {len(found)}", call.at)
        inner = env.on(found[0], env.index or 0) if found else env.empty()
        value = single(condition.run(inner), "iif()")
        if compiler.strict and value is not None and not isinstance(value, bool):
            raise FhirPathError("the first argument of iif() must be a condition", call.arguments[0].at)
        return yes(inner) if value is not None and value is not False else no(inner)

    types = [r.types for r in results]
    known = None if None in types else frozenset[str]().union(*(t for t in types if t is not None))
    return Code(chosen, known)


def _aggregate(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    run, step = _each(target.run, call.arguments), compiler.code(call.arguments[0], target).run
    start = compiler.code(call.arguments[1], _scope).run if len(call.arguments) > 1 else (lambda _env: [])

    def aggregated(env: Environment) -> Collection:
        total = start(env)
        for i, item in enumerate(run(env)):
            inner = env.on(item, i)
            inner.total = total
            total = step(inner)
        return total

    return Code(aggregated)


def _sort(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    keys: list[tuple[Callable[[Environment], Collection], int]] = []
    for argument in call.arguments:
        down = isinstance(argument, Unary) and argument.operator == "-"
        tree = argument.operand if isinstance(argument, Unary) and down else argument
        keys.append((compiler.code(tree, target).run, -1 if down else 1))
    keys = keys or [(lambda env: env.this, 1)]
    run = _each(target.run, call.arguments)

    def by_keys(a: tuple[Any, list[Any]], b: tuple[Any, list[Any]]) -> int:
        return _order(a[1], b[1], keys)

    by = cmp_to_key(by_keys)

    def ordered(env: Environment) -> Collection:
        rows: list[tuple[Any, list[Any]]] = [
            (item, [single(k(env.on(item, i)), "sort()") for k, _ in keys]) for i, item in enumerate(run(env))
        ]
        if (budget := BUDGET.get()) is not None:
            charge(budget, [key for row in rows for key in row[1]], work=_COMPARED)
            budget.spend(len(rows) * _COMPARED)
        return [row[0] for row in sorted(rows, key=by)]

    return Code(ordered, target.types)


def _order(left: Sequence[Any], right: Sequence[Any], keys: list[tuple[Any, int]]) -> int:
    for a, b, (_, sign) in zip(left, right, keys, strict=True):
        if a is None or b is None:  # what has no key stands first, whatever the direction
            order = (a is not None) - (b is not None)
        else:
            order = (order_of(a, b, "sort()") or 0) * sign
        if order:
            return order
    return 0


def _trace(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    for argument in call.arguments[1:]:
        compiler.code(argument, target)  # what it names must exist, though nobody reads the trace
    return target


def _named_type(call: Call) -> str:
    name = type_argument(call.arguments[0])
    if name is None:
        raise FhirPathError(f"{call.name}() takes the name of a type", call.arguments[0].at)
    return name


def _is(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    return is_code(target, _named_type(call), call.at, strict=compiler.strict)


def _as(compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    return of_type(target, _named_type(call), call.at, strict=compiler.strict, one=call.name == "as")


BUILDERS: Final[dict[str, tuple[int, int, Builder]]] = {
    "where": (1, 1, _where), "exists": (0, 1, _exists), "all": (1, 1, _all), "select": (1, 1, _select), "repeat": (1, 1, _repeat),
    "iif": (2, 3, _iif), "aggregate": (1, 2, _aggregate), "sort": (0, 16, _sort), "trace": (1, 2, _trace),
    "is": (1, 1, _is), "as": (1, 1, _as), "ofType": (1, 1, _as),
}  # fmt: skip
"""Name -> (least arguments, most arguments, builder)."""
