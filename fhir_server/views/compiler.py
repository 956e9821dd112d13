"""ViewDefinition -> View: rows of one resource at a time (https://sql-on-fhir.org/ig/StructureDefinition-ViewDefinition.html#processing-algorithm)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from conformance.fhirpath.budget import BUDGET, Budget, TooCostly, bounded, spend
from conformance.fhirpath.nodes import FhirPathError, Node
from conformance.fhirpath.static import Truth, counted
from fhir_server.views.definition import ColumnDefinition, Reader, Selection, ViewDefinition
from fhir_server.views.expressions import ROW_INDEX, Compiled, compiled, condition, read
from fhir_server.views.looking import Decode, decoder
from fhir_server.views.rows import (
    Cell,
    Emit,
    Row,
    RowError,
    Step,
    Variant,
    each_item,
    flat,
    nothing,
    null,
    one_value,
    product,
    united,
    walked,
)
from fhir_server.views.types import Column, common_type, fits, kind_of
from resources.outcomes import FhirError, Issue, error, unprocessable

MOST_STEPS: Final = 2_000_000
"""The work on one resource: a second or two."""
_MOST_COMPILING: Final = 150_000
"""The work on compiling a view: a tenth of a second, for nobody else has a turn meanwhile; a view of 400 columns takes half of it."""
_COMPILING: Final = 100
"""Steps that each expression takes to be compiled for a type, beside those for what is in it."""


@dataclass(frozen=True, slots=True)
class View:
    """A compiled ViewDefinition; immutable, to be shared. `rows` and `read` take one resource each, contained ones give no rows.
    `steps`: the work of compiling it, which its size follows."""

    definition: ViewDefinition
    columns: tuple[Column, ...]
    decode: Decode
    steps: int
    _holds: tuple[Truth, ...]
    _emit: Emit

    @property
    def resource(self) -> str:
        """The resource type that the view is of."""
        return self.definition.resource

    @property
    def name(self) -> str:
        """The view's name, "" if it has none."""
        return self.definition.name

    def read(self, body: bytes, most: int = MOST_STEPS) -> list[Row]:
        """The rows of a stored document's bytes; only the members that the view looks at are decoded. Raises as `rows`."""
        return self.rows(self.decode(body), most)

    def rows(self, document: Mapping[str, Any], most: int = MOST_STEPS) -> list[Row]:
        """The rows of a decoded resource (`resources.documents.decode`), values in the order of `columns`: JSON as it
        stands in the document (decimals as Decimal), None for nothing, lists in collections. No rows of a resource of another type.

        Raises FhirError 422, naming resource and column, where the view does not go with the resource; TooCostly where that takes more than
        `most` steps, fewer than it may take.
        """
        if document.get("resourceType") != self.definition.resource:
            return []
        at, code = "ViewDefinition", "processing"
        token = BUDGET.set(Budget(most))
        try:
            for holds in self._holds:
                if holds(document, document, document) is not True:
                    return []
            return self._emit(document, document, 0)
        except RowError as failure:
            text, at = failure.text, failure.at
        except TooCostly as failure:
            if most < MOST_STEPS:
                raise
            text, code = str(failure), "too-costly"
        except FhirPathError as failure:
            text = str(failure)
        finally:
            BUDGET.reset(token)
        which = f"{self.definition.resource}/{document.get('id', '')}"
        raise error(422, code, f"The view cannot be made of {which}: {text}", at) from None


def compile_view(document: Any) -> View:
    """The View of a ViewDefinition (decoded JSON). Raises FhirError 422 with an issue for everything that is wrong, and where."""
    try:
        with bounded(_MOST_COMPILING) as budget:
            return _compile(document, budget)
    except TooCostly as failure:
        text = f"The view cannot be compiled: {failure}. Name the types of what may be of many, by ofType()"
        raise error(422, "too-costly", text, "ViewDefinition.select") from None


def _compile(document: Any, budget: Budget) -> View:
    reader = Reader()
    definition = reader.read(document)
    issues = reader.issues
    made = _Compiler(definition, issues)
    columns = made.columns_of(definition.selects, [])
    if issues or not definition.resource:
        raise unprocessable(issues)
    holds = [truth for at, path in definition.where if (truth := made.where(path, at)) is not None]
    body = product([made.emit(one, definition.resource, iterated=False) for one in definition.selects])
    typed = tuple(made.column(one) for one in columns)
    if issues:
        raise unprocessable(_distinct(issues))
    return View(definition, typed, decoder(definition.resource, made.trees), budget.most - budget.left, tuple(holds), body)


def problems_of(document: Any) -> list[Issue]:
    """What keeps a ViewDefinition from being compiled; [] if nothing does."""
    try:
        compile_view(document)
    except FhirError as failure:
        return failure.issues
    return []


def _distinct(issues: list[Issue]) -> list[Issue]:
    return list(dict.fromkeys(issues))


@dataclass(slots=True)
class _Compiler:
    """`types`: what each column can be, by its place (None: not known); `same`: the columns of the other parts of a unionAll, by those of
    the first; `trees`: all expressions, with what those on the resource itself were compiled to; `bodies`: what was made of each select for
    each type, with the issues of it."""

    definition: ViewDefinition
    issues: list[Issue]
    types: dict[str, set[str] | None] = field(default_factory=dict)
    same: dict[str, list[str]] = field(default_factory=dict)
    trees: list[tuple[Node, Compiled | None]] = field(default_factory=list)
    bodies: dict[tuple[str, str, bool], tuple[Emit, list[Issue]]] = field(default_factory=dict)
    missing: dict[str, Row] = field(default_factory=dict)

    def fail(self, failure: FhirPathError, path: str, at: str) -> None:
        """Note an expression that cannot be."""
        self.issues.append(Issue("error", "invalid", f"{path!r} cannot be used: {failure}", at))

    # columns

    def columns_of(self, selects: tuple[Selection, ...], before: list[ColumnDefinition]) -> list[ColumnDefinition]:
        """The columns of sibling selects in their order, none twice."""
        made: list[ColumnDefinition] = []
        for one in selects:
            known = {column.name for column in (*before, *made)}
            for column in one.columns:
                if column.name in known:
                    self.issues.append(Issue("error", "duplicate", f"There are two columns {column.name!r}", f"{column.at}.name"))
                known.add(column.name)
                made.append(column)
            made += self.columns_of(one.selects, [*before, *made])
            made += self._united(one, [*before, *made])
        return made

    def _united(self, one: Selection, before: list[ColumnDefinition]) -> list[ColumnDefinition]:
        first: list[ColumnDefinition] | None = None
        for branch in one.unions:
            columns = self.columns_of((branch,), before)
            first = columns if first is None else first
            if [c.name for c in columns] != [c.name for c in first] or [c.collection for c in columns] != [
                c.collection for c in first
            ]:
                names = ", ".join(c.name for c in first)
                text = f"Every part of unionAll has the same columns in the same order: {names}"
                self.issues.append(Issue("error", "invariant", text, branch.at))
            elif columns is not first:
                for mine, theirs in zip(columns, first, strict=True):
                    self.same.setdefault(theirs.at, []).append(mine.at)
        return first or []

    def column(self, one: ColumnDefinition) -> Column:
        """The column with its type: the declared one, or what the expression gives."""
        found = self._types(one.at)
        type_name = one.type or self._inferred(one, found)
        wrong = [name for name in sorted(found or ()) if one.type and not fits(name, one.type)]
        if wrong:
            text = f"The column {one.name!r} is declared as {one.type}, but its path gives {' or '.join(wrong)}"
            self.issues.append(Issue("error", "value", text, f"{one.at}.type"))
        return Column(one.name, type_name, one.collection, one.description, _is_index(one), one.tags)

    def _types(self, at: str) -> set[str] | None:
        made = self.types.get(at, set())
        for other in self.same.get(at, ()):
            more = self._types(other)
            made = None if made is None or more is None else made | more
        return made

    def _inferred(self, one: ColumnDefinition, found: set[str] | None) -> str:
        if not found:
            return "string"
        common = common_type(found)
        if common is None:
            text = f"The column {one.name!r} may be {', '.join(sorted(found))}: choose one by ofType()"
            self.issues.append(Issue("error", "value", text, f"{one.at}.path"))
        elif kind_of(common) == "complex":
            text = f"The column {one.name!r} is a {common}: name it as its type, or choose an element of it"
            self.issues.append(Issue("error", "required", text, f"{one.at}.type"))
        return common or "string"

    # rows

    def where(self, path: str, at: str) -> Truth | None:
        """A condition on the resource."""
        try:
            spend(_COMPILING)
            tree = read(path, self.definition.constants, iterated=False)
            truth = condition(tree, self.definition.resource)
        except TooCostly:
            raise
        except FhirPathError as failure:
            self.fail(failure, path, at)
            return None
        self.trees.append((tree, None))
        return truth

    def emit(self, one: Selection, type_name: str, *, iterated: bool) -> Emit:
        """The rows of a select for nodes of a type."""
        if one.repeat:
            return self._repeated(one, type_name, iterated=iterated)
        if not one.foreach:
            return self._body(one, type_name, iterated=iterated)
        found = self._compiled(
            one.foreach, f"{one.at}.{'forEachOrNull' if one.or_null else 'forEach'}", type_name, iterated=iterated
        )
        if found is None:
            return nothing
        if found.types is None:
            text = f"{one.foreach!r} cannot be used: the types of its values cannot be told; add ofType()"
            self.issues.append(Issue("error", "invalid", text, f"{one.at}.forEach"))
            return nothing
        bodies = self._bodies(one, found.types)
        variants = [Variant(get, bodies[name], found.again) for get, name in zip(found.gets, found.types, strict=True)]
        return each_item(variants, self._missing(one) if one.or_null else None, _steps(one))

    def _missing(self, one: Selection) -> Row:
        """The row of forEachOrNull without items."""
        if one.at not in self.missing:
            columns = _Compiler(self.definition, []).columns_of((one,), [])
            self.missing[one.at] = tuple(0 if _is_index(column) else None for column in columns)
        return self.missing[one.at]

    def _bodies(self, one: Selection, types: tuple[str, ...] | list[str]) -> dict[str, Emit]:
        """What is made of items of each type. What only some of them have is nothing for the others."""
        before = len(self.issues)
        bodies: dict[str, Emit] = {}
        failures: list[list[Issue]] = []
        for name in dict.fromkeys(types):
            bodies[name] = self._body(one, name, iterated=True)
            failures.append(self.issues[before:])
            del self.issues[before:]
        if failures and all(failures):
            self.issues += failures[0]
        return bodies

    def _compiled(self, path: str, at: str, type_name: str, *, iterated: bool) -> Compiled | None:
        try:
            spend(_COMPILING)
            tree = read(path, self.definition.constants, iterated=iterated)
            found = compiled(tree, type_name)
        except TooCostly:
            raise
        except FhirPathError as failure:
            self.fail(failure, path, at)
            return None
        self.trees.append((tree, found if type_name == self.definition.resource else None))
        return found

    def _body(self, one: Selection, type_name: str, *, iterated: bool) -> Emit:
        """Columns, selects and unionAll of a select, for one node: made once for each type."""
        key = (one.at, type_name, iterated)
        if key in self.bodies:
            made, issues = self.bodies[key]
            self.issues += issues
            return made
        before = len(self.issues)
        made = self._parts(one, type_name, iterated=iterated)
        self.bodies[key] = made, self.issues[before:]
        return made

    def _parts(self, one: Selection, type_name: str, *, iterated: bool) -> Emit:
        cells = [self._cell(column, type_name, iterated=iterated) for column in one.columns]
        parts: list[Emit] = [flat(cells)] if cells else []
        parts += [self.emit(inner, type_name, iterated=iterated) for inner in one.selects]
        if one.unions:
            parts.append(united([self.emit(inner, type_name, iterated=iterated) for inner in one.unions]))
        return product(parts)

    def _cell(self, column: ColumnDefinition, type_name: str, *, iterated: bool) -> Cell:
        found = self._compiled(column.path, f"{column.at}.path", type_name, iterated=iterated)
        if found is None:
            return null
        known = self.types.setdefault(column.at, set())
        self.types[column.at] = None if known is None or found.types is None else known | set(found.types)
        if column.collection:
            gets = found.gets
            return lambda node, resource, index: counted([value for get in gets for value in get(node, resource, index)])
        return found.single or one_value(found, column)

    def _repeated(self, one: Selection, type_name: str, *, iterated: bool) -> Emit:
        paths: dict[str, list[Step]] = {}
        waiting = [type_name]
        while waiting:
            here = waiting.pop()
            paths[here] = []
            for number, path in enumerate(one.repeat):
                found = self._step(path, f"{one.at}.repeat[{number}]", here, iterated=iterated)
                for step in found:
                    paths[here].append(step)
                    if step[1] not in paths and step[1] not in waiting:
                        waiting.append(step[1])
        reached = list(dict.fromkeys(name for found in paths.values() for _, name, _ in found))
        return walked(paths, type_name, self._bodies(one, reached), one.at, _steps(one))

    def _step(self, path: str, at: str, type_name: str, *, iterated: bool) -> list[Step]:
        """Where a path of repeat leads from a type; nowhere, if the type has no such element: the next level need not be like this one."""
        try:
            tree = read(path, self.definition.constants, iterated=iterated)
        except FhirPathError as failure:
            self.fail(failure, path, at)
            return []
        try:
            spend(_COMPILING)
            found = compiled(tree, type_name)
        except TooCostly:
            raise
        except FhirPathError:
            return []
        self.trees.append((tree, found if type_name == self.definition.resource else None))
        if found.types is None:
            self.fail(FhirPathError("the types of its values cannot be told; add ofType()"), path, at)
            return []
        return [(get, name, found.again) for get, name in zip(found.gets, found.types, strict=True)]


def _steps(one: Selection) -> int:
    """The work on one item of a select, by the length of what is evaluated on it."""
    here = (*(column.path for column in one.columns), *one.repeat)
    within = (*one.selects, *one.unions)
    below = sum(1 + (len(each.foreach) >> 4) if each.foreach else _steps(each) for each in within)
    return 1 + below + sum(1 + (len(path) >> 4) for path in here)


def _is_index(column: ColumnDefinition) -> bool:
    return column.path.strip() == f"%{ROW_INDEX}"
