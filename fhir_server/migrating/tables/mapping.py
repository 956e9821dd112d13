"""A mapping: which columns of which files go where. Read once, checked as a whole, all that is wrong with it told at once.

zone: Europe/Berlin
ids: {Patient: "pat-{}"}
codes:
  sex: {m: male, w: female}
files:
  people.csv:
    delimiter: ";"
    resources:
    - type: Patient
      id: number
      elements:
        name.family: surname
        gender: {column: sex, codes: sex}
        birthDate: {column: born, date: "%d.%m.%Y"}
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

from conformance.load import Definitions, fhirpath
from fhir_server.migrating.tables.building import Tree
from fhir_server.migrating.tables.dates import zone_of
from fhir_server.migrating.tables.ids import HASHED, IdRules
from fhir_server.migrating.tables.marked import Node, Problems, read_marked
from fhir_server.migrating.tables.paths import Step, find
from fhir_server.migrating.tables.values import Row, Surroundings, compile_rule, source_of
from fhir_server.permission import APPEND_ONLY

MOST_RESOURCES = 1_000
"""Resources that a row may make."""


@dataclass(slots=True)
class ResourceRule:
    """What makes one resource of a row. `columns`: FHIRPath without indices -> the columns that go there. `used` are all columns, and where
    the mapping names them."""

    type: str
    tree: Tree = field(default_factory=Tree)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    id_columns: tuple[str, ...] = ()
    id_text: Callable[[Row], str] = lambda _row: ""
    wanted: Callable[[Row], bool] = lambda _row: True
    used: dict[str, Node] = field(default_factory=dict)


@dataclass(slots=True)
class FileRule:
    """A file, or several by a pattern (`people-*.csv`), how it is written, and what its rows make."""

    node: Node
    pattern: str
    encoding: str
    delimiter: str
    empty: frozenset[str]
    header: tuple[str, ...]
    resources: tuple[ResourceRule, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    """A whole mapping."""

    problems: Problems
    ids: IdRules
    files: tuple[FileRule, ...]


def read_mapping(path: Path, definitions: Definitions) -> Mapped:
    """The mapping of a file. Raises BadMapping with everything that is wrong."""
    root, problems = read_marked(path), Problems(path.name)
    told = problems.members(root, "zone", "ids", "codes", "files", what="a mapping")
    ids = IdRules(_ids(problems, told.get("ids"), definitions))
    codes = problems.members(told["codes"], what="codes") if "codes" in told else {}
    around = Surroundings(definitions, ids, codes, _zone(problems, told.get("zone")), problems)
    if "files" not in told:
        problems.add(root, "a mapping needs files")
    found = problems.members(told["files"], what="files") if "files" in told else {}
    files = tuple(_file(around, name, node) for name, node in found.items())
    problems.check()
    return Mapped(problems, ids, files)


def _ids(problems: Problems, node: Node | None, definitions: Definitions) -> dict[str, str]:
    rules: dict[str, str] = {}
    for type, inner in (problems.members(node, what="ids") if node else {}).items():
        rules[type] = rule = problems.text(inner, "a rule of ids")
        if type not in definitions.resource_types:
            problems.add(inner, f"{type!r} is not a resource type of FHIR R4")
        elif rule != HASHED and rule.count("{}") != 1:
            problems.add(inner, "a rule of ids is hash, or holds {} once: 'pat-{}'")
    return rules


def _zone(problems: Problems, node: Node | None) -> tzinfo | None:
    if node is None:
        return None
    try:
        return zone_of(problems.text(node, "zone"))
    except ValueError as problem:
        problems.add(node, str(problem))
        return None


def _file(around: Surroundings, name: str, node: Node) -> FileRule:
    problems = around.problems
    told = problems.members(node, "encoding", "delimiter", "empty", "header", "resources", what="a file")
    encoding = problems.text(told.get("encoding"), "encoding") or "utf-8-sig"
    try:
        "".encode(encoding)
    except LookupError:
        problems.add(told["encoding"], f"{encoding} is no encoding such as utf-8 or cp1252")
    delimiter = problems.text(told.get("delimiter"), "delimiter") or ","
    if len(delimiter) != 1:
        problems.add(told["delimiter"], 'delimiter is one sign: ";" or "\\t"')
    if Path(name).is_absolute() or ".." in Path(name).parts:
        problems.add(node, f"{name} must lie in the folder of the files")
    resources = told.get("resources")
    if resources is None or not isinstance(resources.value, list) or not 0 < len(resources.value) <= MOST_RESOURCES:
        problems.add(resources or node, f"a file needs resources: a list of 1 to {MOST_RESOURCES}")
        rules: tuple[ResourceRule, ...] = ()
    else:
        rules = tuple(_resource(around, each) for each in resources.value)
    empty = frozenset(("", *problems.texts(told.get("empty"), "empty")))
    return FileRule(node, name, encoding, delimiter, empty, problems.texts(told.get("header"), "header"), rules)


def _resource(around: Surroundings, node: Node) -> ResourceRule:
    problems = around.problems
    told = problems.members(node, "type", "id", "when", "elements", what="a resource")
    type = problems.text(told.get("type"), "type")
    rule = ResourceRule(type)
    if type not in around.definitions.resource_types or type in APPEND_ONLY:
        problems.add(told.get("type", node), f"type {type!r} is not a resource type of FHIR R4 that can be imported")
        return rule
    if "id" not in told:
        problems.add(node, "a resource needs an id: the column whose value is the same each time")
    else:
        inner = told["id"]
        source = {"column": inner} if isinstance(inner.value, str) else problems.members(inner, "column", "text", what="an id")
        rule.id_columns, rule.id_text = source_of(problems, inner, source)
        rule.used |= dict.fromkeys(rule.id_columns, inner)
    if "when" in told:
        _when(problems, told["when"], rule)
    for path, inner in (problems.members(told["elements"], what="elements") if "elements" in told else {}).items():
        _element(around, rule, path, inner)
    return rule


def _element(around: Surroundings, rule: ResourceRule, path: str, node: Node) -> None:
    try:
        target = find(around.definitions, rule.type, path)
    except ValueError as problem:
        around.problems.add(node, str(problem))
        return
    if path in ("id", "meta.versionId", "meta.lastUpdated"):
        around.problems.add(node, f"{path} cannot be mapped" + (": it is given by id beside elements" if path == "id" else ""))
        return
    made = compile_rule(around, node, target)
    if made is None:
        return
    place = fhirpath(".".join([rule.type, *(step.name for step in target.steps)]))
    steps = (*target.steps, Step(made.member, None)) if made.member else target.steps
    if not rule.tree.put(steps, place, made):
        around.problems.add(node, f"{path} is mapped twice, or together with what is in it")
    rule.columns[place] = (*rule.columns.get(place, ()), *made.columns)
    rule.used |= dict.fromkeys(made.columns, node)


def _when(problems: Problems, node: Node, rule: ResourceRule) -> None:
    """`when: column`: something stands there; `when: {column: kind, is: [lab, vital]}`: one of these does."""
    told: Mapping[str, Node] = (
        {"column": node} if isinstance(node.value, str) else problems.members(node, "column", "is", what="when")
    )
    column = problems.text(told.get("column"), "column")
    if not column:
        problems.add(node, "when needs a column")
        return
    rule.used[column] = node
    values = frozenset(problems.texts(told.get("is"), "is"))
    rule.wanted = (lambda row: row[column] in values) if values else (lambda row: bool(row[column]))
