"""A ViewDefinition's JSON -> frozen values, with every problem of its form (https://sql-on-fhir.org/ig/StructureDefinition-ViewDefinition.html).

Whether its expressions make sense is for `compiler.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from conformance.fhirpath.model import definition
from conformance.fhirpath.temporal import Temporal, parse_datetime, parse_time
from conformance.load import definitions
from resources.outcomes import Issue, shown

MOST_COLUMNS: Final = 1_000
MOST_SELECTS: Final = 1_000
DEEPEST: Final = 16
"""Selects within selects."""
LONGEST_PATH: Final = 10_000
"""Characters of an expression."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}")
_TEXTS: Final = frozenset(("Base64Binary", "Canonical", "Code", "Id", "Markdown", "Oid", "String", "Uri", "Url", "Uuid"))
_WHOLE: Final = frozenset(("Integer", "PositiveInt", "UnsignedInt"))
_TEMPORAL: Final = frozenset(("Date", "DateTime", "Instant"))


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """One column as it is written. `at`: its place in the ViewDefinition (FHIRPath), `type` "" where it is not said."""

    at: str
    name: str
    path: str
    type: str
    collection: bool
    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """A select. `foreach`: the expression of forEach or forEachOrNull (`or_null`), "" if there is none."""

    at: str
    columns: tuple[ColumnDefinition, ...]
    selects: tuple["Selection", ...]
    unions: tuple["Selection", ...]
    foreach: str
    or_null: bool
    repeat: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """A ViewDefinition whose form is right. `constants`: name -> System value; `where`: (place, expression)."""

    name: str
    url: str
    resource: str
    constants: Mapping[str, object]
    where: tuple[tuple[str, str], ...]
    selects: tuple[Selection, ...]


@dataclass(slots=True)
class Reader:
    """Reads a document, and notes what is wrong in `issues`."""

    issues: list[Issue] = field(default_factory=list)
    columns: int = 0
    selects: int = 0

    def read(self, document: Any) -> ViewDefinition:
        """The definition; of no use if there are issues."""
        if not isinstance(document, dict):
            self.note("structure", "A ViewDefinition is a JSON object", "ViewDefinition")
            document = {}
        at = "ViewDefinition"
        if document.get("resourceType", at) != at:
            self.note("structure", f"This is a {shown(str(document['resourceType']))}, not a ViewDefinition", at)
        constants = dict(self.constant(one, f"{at}.constant[{i}]") for i, one in enumerate(self.objects(document, "constant", at)))
        where = [(f"{at}.where[{i}]", one) for i, one in enumerate(self.objects(document, "where", at))]
        found = ViewDefinition(
            self.name(document, at, required=False),
            self.text(document, "url", at),
            self.resource(document, at),
            constants,
            tuple((f"{place}.path", self.text(one, "path", place, required=True)) for place, one in where),
            tuple(self.selection(one, f"{at}.select[{i}]", 1) for i, one in enumerate(self.objects(document, "select", at))),
        )
        if not found.selects:
            self.note("required", "A ViewDefinition has at least one select", f"{at}.select")
        elif not self.columns:
            self.note("required", "The view has no column: name at least one in select.column", f"{at}.select")
        return found

    def note(self, code: str, text: str, at: str) -> None:
        """Note a problem at a place."""
        self.issues.append(Issue("error", code, text, at))

    def resource(self, document: Mapping[str, Any], at: str) -> str:
        """The resource type that the view is of."""
        name = self.text(document, "resource", at, required=True)
        if name and name not in definitions().resource_types:
            self.note("value", f"{shown(name)} is no resource type of FHIR R4", f"{at}.resource")
            return ""
        return name

    def name(self, holder: Mapping[str, Any], at: str, *, required: bool) -> str:
        """A name that databases take."""
        name = self.text(holder, "name", at, required=required)
        if name and _NAME.fullmatch(name) is None:
            text = f"The name {shown(name)} is none for a table or column: letters, digits and underscores, a letter first"
            self.note("invariant", text, f"{at}.name")
        return name

    def text(self, holder: Mapping[str, Any], name: str, at: str, *, required: bool = False) -> str:
        """A member that is text; "" where there is none."""
        value = holder.get(name)
        if value is None:
            if required:
                self.note("required", f"{at}.{name} is missing", f"{at}.{name}")
            return ""
        if not isinstance(value, str) or not value.strip():
            self.note("structure", f"{at}.{name} must be text", f"{at}.{name}")
            return ""
        if len(value) > LONGEST_PATH:
            self.note("too-long", f"{at}.{name} is longer than {LONGEST_PATH} characters", f"{at}.{name}")
            return ""
        return value

    def objects(self, holder: Mapping[str, Any], name: str, at: str) -> list[dict[str, Any]]:
        """A member that is a list of objects; [] where there is none."""
        value = holder.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
            self.note("structure", f"{at}.{name} must be a list of objects", f"{at}.{name}")
            return []
        return value

    def selection(self, one: Mapping[str, Any], at: str, depth: int) -> Selection:
        """A select with what is in it."""
        inner: dict[str, tuple[Selection, ...]] = {"select": (), "unionAll": ()}
        self.selects += 1
        if self.selects == MOST_SELECTS + 1:
            self.note("too-costly", f"The view has more than {MOST_SELECTS} selects", at)
        if depth > DEEPEST:
            self.note("too-costly", f"Selects are nested deeper than {DEEPEST} levels", at)
        else:
            for name in inner:
                inside = enumerate(self.objects(one, name, at))
                inner[name] = tuple(self.selection(each, f"{at}.{name}[{i}]", depth + 1) for i, each in inside)
        foreach, or_null = self.text(one, "forEach", at), self.text(one, "forEachOrNull", at)
        repeat = self.repeat(one, at)
        if sum(map(bool, (foreach, or_null, repeat))) > 1:
            self.note("invariant", "A select has at most one of forEach, forEachOrNull and repeat", at)
        columns = tuple(self.column(each, f"{at}.column[{i}]") for i, each in enumerate(self.objects(one, "column", at)))
        return Selection(at, columns, inner["select"], inner["unionAll"], foreach or or_null, bool(or_null), repeat)

    def repeat(self, one: Mapping[str, Any], at: str) -> tuple[str, ...]:
        """The expressions of repeat."""
        value = one.get("repeat")
        if value is None:
            return ()
        if not isinstance(value, list) or not value or not all(isinstance(p, str) and p and len(p) <= LONGEST_PATH for p in value):
            self.note("structure", f"{at}.repeat must be a list of expressions", f"{at}.repeat")
            return ()
        return tuple(value)

    def column(self, one: Mapping[str, Any], at: str) -> ColumnDefinition:
        """A column."""
        self.columns += 1
        if self.columns == MOST_COLUMNS + 1:
            self.note("too-costly", f"The view has more than {MOST_COLUMNS} columns", at)
        collection = one.get("collection", False)
        if not isinstance(collection, bool):
            self.note("structure", f"{at}.collection must be true or false", f"{at}.collection")
        tags = {
            self.text(tag, "name", f"{at}.tag[{i}]", required=True): self.text(tag, "value", f"{at}.tag[{i}]", required=True)
            for i, tag in enumerate(self.objects(one, "tag", at))
        }
        name, path = self.name(one, at, required=True), self.text(one, "path", at, required=True)
        type_name = type_code(self.text(one, "type", at))
        if type_name and definition(type_name) is None and type_name != "integer64":
            self.note("value", f"{shown(type_name)} is no type of FHIR R4", f"{at}.type")
        return ColumnDefinition(at, name, path, type_name, collection is True, self.text(one, "description", at), tags)

    def constant(self, one: Mapping[str, Any], at: str) -> tuple[str, object]:
        """Name and value of a constant."""
        name = self.name(one, at, required=True)
        kinds = [key for key in one if key.startswith("value")]
        if len(kinds) != 1:
            self.note("required", f"The constant {shown(name)} needs one value[x]", at)
            return name, None
        value = _constant(kinds[0].removeprefix("value"), one[kinds[0]])
        if value is None:
            self.note("value", f"{kinds[0]} of the constant {shown(name)} cannot be used", f"{at}.value")
        return name, value


_SYSTEM: Final = {
    "System.Boolean": "boolean", "System.String": "string", "System.Integer": "integer", "System.Decimal": "decimal",
    "System.Date": "date", "System.DateTime": "dateTime", "System.Time": "time", "System.Quantity": "Quantity",
}  # fmt: skip


def type_code(type_uri: str) -> str:
    """The code of a type told as a code, as the URL of its StructureDefinition, or as a FHIRPath type."""
    plain = type_uri.removeprefix("http://hl7.org/fhir/StructureDefinition/").removeprefix("http://hl7.org/fhirpath/")
    return _SYSTEM.get(plain, plain)


def _constant(kind: str, value: Any) -> object:
    """The System value of value[x]; None if it is none."""
    if kind == "Boolean":
        return value if isinstance(value, bool) else None
    if kind in _WHOLE:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if kind == "Integer64":
        return int(value) if isinstance(value, str | int) and re.fullmatch(r"-?\d{1,19}", str(value)) else None
    if kind == "Decimal":
        return Decimal(str(value)) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None
    return _text_constant(kind, value) if isinstance(value, str) and value else None


def _text_constant(kind: str, value: str) -> object:
    if kind in _TEXTS:
        return value
    if kind == "Time":
        return parse_time(value)
    found = parse_datetime(value) if kind in _TEMPORAL else None
    return Temporal("DateTime", found.fields) if found is not None and found.kind == "Date" and kind != "Date" else found
