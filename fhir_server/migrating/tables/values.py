"""What goes to one place of a resource: a constant, or what stands in columns, made into a value of FHIR."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from conformance.load import Definitions, TypeDefinition
from fhir_server.migrating.tables.dates import TYPES, format_problem, read_date
from fhir_server.migrating.tables.ids import IdRules
from fhir_server.migrating.tables.marked import Node, Problems
from fhir_server.migrating.tables.paths import Target, element_of

Row = Mapping[str, str]
"""A row: what stands in each column, "" where nothing does."""

_BRACES = re.compile(r"\{([^{}]+)\}")
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_OPTIONS = ("column", "text", "value", "reference", "codes", "otherwise", "default", "date", "decimal", "match", "split")


class BadValue(ValueError):
    """What stands in a column cannot be made a value; the text says why, and `columns` where."""

    def __init__(self, columns: Sequence[str], text: str) -> None:
        super().__init__(text)
        self.columns = tuple(columns)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rules of values refer to: the definitions of FHIR, how ids are made, lists of codes by name, the time zone."""

    definitions: Definitions
    ids: IdRules
    codes: Mapping[str, Node]
    zone: tzinfo | None
    problems: Problems


@dataclass(frozen=True, slots=True)
class Rule:
    """`columns` that are read (none: a constant), and what makes a value of a row: None where there is none. It raises BadValue. `listed`:
    it makes several values; `member`: they go to this member of the place."""

    columns: tuple[str, ...]
    value: Callable[[Row], Any]
    listed: bool = False
    member: str = ""


def compile_rule(around: Surroundings, node: Node, target: Target) -> Rule | None:
    """The rule that a node of a mapping tells; None where it is wrong, and the problems say so."""
    if isinstance(node.value, str):
        return _of_text(around, node, {"column": node}, target)
    told = around.problems.members(node, *_OPTIONS, what="a value")
    if sum(name in told for name in ("column", "text", "value")) != 1:
        around.problems.add(node, "a value needs one of column, text and value")
        return None
    if "value" in told:
        constant = literal(around, told["value"], target.type)
        return Rule((), lambda _row: constant)
    return _of_text(around, node, told, target)


def source_of(problems: Problems, node: Node, told: Mapping[str, Node]) -> tuple[tuple[str, ...], Callable[[Row], str]]:
    """The columns that `column` or `text` names, and what makes a text of a row."""
    if "column" in told:
        column = problems.text(told["column"], "column")
        if not column:
            problems.add(node, "a column has a name")
        return (column,), lambda row: row[column]
    pattern = problems.text(told.get("text"), "text")
    columns = tuple(dict.fromkeys(_BRACES.findall(pattern)))
    if not columns:
        problems.add(node, "text names columns in braces: '{first} {last}'")
    return columns, lambda row: _filled(pattern, columns, row)


def literal(around: Surroundings, node: Node, type: TypeDefinition) -> Any:
    """A constant of that type: a text, or members by name for types that are made of some."""
    if type.kind == "primitive":
        text = around.problems.text(node, f"a {type.name}")
        try:
            return convert(text, type, (), around.zone, "")
        except ValueError as problem:
            around.problems.add(node, f"{text!r} {problem}")
            return None
    if isinstance(node.value, list):
        around.problems.add(node, f"a {type.name} is no list here: name each place, such as [0]")
        return None
    made: dict[str, Any] = {}
    for name, inner in around.problems.members(node, what=f"a {type.name}").items():
        element = element_of(type, name)
        of = around.definitions.types.get(element.json[name]) if element else None
        if element is None or of is None:
            around.problems.add(inner, f"{type.name} has no {name}")
            continue
        several = inner.value if isinstance(inner.value, list) else [inner]
        values = [literal(around, each, of) for each in several]
        made[name] = values if element.many else values[0]
    return made


def convert(text: str, type: TypeDefinition, formats: Sequence[str], zone: tzinfo | None, comma: str) -> Any:
    """A text as a value of a primitive type. Raises ValueError with what follows the text in a sentence."""
    name = type.name
    if name in TYPES:
        return read_date(text, name, formats, zone)
    if name == "boolean":
        if text not in ("true", "false"):
            raise ValueError("is neither true nor false; say by codes what it means")
        return text == "true"
    if name in ("integer", "positiveInt", "unsignedInt"):
        if not _WHOLE.fullmatch(text):
            raise ValueError("is no whole number")
        return int(text)
    if name == "decimal":
        return _decimal(text, comma)
    return text


def _of_text(around: Surroundings, node: Node, told: Mapping[str, Node], target: Target) -> Rule | None:
    problems = around.problems
    columns, text_of = source_of(problems, node, told)
    if "reference" in told:
        return _reference(around, told, target, columns)
    codes = _codes(around, told, target)
    if codes is None and not target.primitive:
        some = ", ".join(name for element in target.type.elements.values() for name in element.json if element.name != "id")
        problems.add(node, f"a {target.type.name} is made of more than one text: map what is in it ({some}), or give codes")
        return None
    formats = _formats(around, told, target)
    comma = problems.text(told.get("decimal"), "decimal")
    if comma not in ("", ".", ","):
        problems.add(told["decimal"], "decimal is '.' or ','")
    match = _pattern(problems, told.get("match"))
    default = literal(around, told["default"], target.type) if "default" in told else None
    zone, type = around.zone, target.type

    def one(text: str) -> Any:
        if match is not None:
            text = _matched(match, text)
        if not text:
            return default
        try:
            return codes(text) if codes is not None else convert(text, type, formats, zone, comma)
        except ValueError as problem:
            raise BadValue(columns, f"{text[:100]!r} {problem}") from None

    separator = problems.text(told.get("split"), "split") if "split" in told else None
    if separator is None:
        return Rule(columns, lambda row: one(text_of(row)))
    if not separator or not target.many:
        problems.add(told["split"], "split is what stands between several values, of an element that repeats")
        return None
    return Rule(
        columns,
        lambda row: [each for part in text_of(row).split(separator) if (each := one(part.strip())) is not None] or None,
        True,
    )


def _codes(around: Surroundings, told: Mapping[str, Node], target: Target) -> Callable[[str], Any] | None:
    """What a text means, by the list of codes that a rule names or holds."""
    problems, node = around.problems, told.get("codes")
    if node is None:
        if "otherwise" in told:
            problems.add(told["otherwise"], "otherwise is for what codes does not name")
        return None
    if isinstance(node.value, str):
        if node.value not in around.codes:
            problems.add(node, f"no codes are named {node.value!r}; named are {', '.join(around.codes) or 'none'}")
            return lambda _text: None
        named = around.codes[node.value]
    else:
        named = node
    meanings = {name: literal(around, each, target.type) for name, each in problems.members(named, what="codes").items()}
    other = literal(around, told["otherwise"], target.type) if "otherwise" in told else None
    shown = ", ".join(list(meanings)[:20])

    def mean(text: str) -> Any:
        if text in meanings:
            return meanings[text]
        if other is None:
            raise ValueError(f"is none of the codes {shown}")
        return other

    return mean


def _reference(around: Surroundings, told: Mapping[str, Node], target: Target, columns: tuple[str, ...]) -> Rule | None:
    type = around.problems.text(told["reference"], "reference")
    if target.type.name != "Reference":
        around.problems.add(told["reference"], f"a reference cannot go to a {target.type.name}")
        return None
    known = around.definitions.types.get(type)
    if known is None or known.kind != "resource" or known.abstract:
        around.problems.add(told["reference"], f"{type!r} is not a resource type of FHIR R4")
        return None
    if unfit := [name for name in told if name not in ("reference", "column", "text")]:
        around.problems.add(told[unfit[0]], f"{unfit[0]} does not go with reference")
    _, text_of = source_of(around.problems, told["reference"], told)

    def refer(row: Row) -> Any:
        if not (text := text_of(row)):
            return None
        try:
            return f"{type}/{around.ids.make(type, text)}"
        except ValueError as problem:
            raise BadValue(columns, f"{text[:100]!r} {problem}") from None

    return Rule(columns, refer, member="reference")


def _formats(around: Surroundings, told: Mapping[str, Node], target: Target) -> tuple[str, ...]:
    if "date" not in told:
        return ()
    node, formats = told["date"], around.problems.texts(told["date"], "date")
    if target.type.name not in TYPES:
        around.problems.add(node, f"date is for dates and times, and this is a {target.type.name}")
        return ()
    for each in formats:
        if problem := format_problem(each, target.type.name, zone=around.zone is not None):
            around.problems.add(node, problem)
    return formats


def _pattern(problems: Problems, node: Node | None) -> re.Pattern[str] | None:
    if node is None:
        return None
    try:
        return re.compile(problems.text(node, "match"))
    except re.error as problem:
        problems.add(node, f"match is no regular expression: {problem}")
        return None


def _matched(pattern: re.Pattern[str], text: str) -> str:
    """The first group of what was found, or all of it; "" where nothing was."""
    found = pattern.search(text)
    if found is None:
        return ""
    return ((found.group(1) if pattern.groups else found.group()) or "").strip()


def _filled(pattern: str, columns: Sequence[str], row: Row) -> str:
    if not any(row[column] for column in columns):
        return ""
    return " ".join(_BRACES.sub(lambda match: row[match.group(1)], pattern).split())


def _decimal(text: str, comma: str) -> Decimal:
    plain = text
    if comma == ",":
        plain = text.replace(".", "").replace(",", ".")
    elif comma == ".":
        plain = text.replace(",", "")
    try:
        if not _DECIMAL.fullmatch(plain):
            raise InvalidOperation
        return Decimal(plain)
    except InvalidOperation:
        hint = "" if comma else "; say which sign divides: decimal: ','"
        raise ValueError(f"is no number{hint if ',' in text else ''}") from None
