"""The compiled R4 definitions as frozen values, loaded once.

`scripts/compile_definitions.py` reads the official definitions in `conformance/definitions/` and writes the tables that this module
loads in a few tens of milliseconds. Nothing here is typed by hand.
"""

from functools import lru_cache
from pathlib import Path

import msgspec

COMPILED = Path(__file__).parent / "definitions" / "compiled" / "r4.msgpack"


class Constraint(msgspec.Struct, frozen=True):
    """An invariant: `key` (dom-6), severity error or warning, the sentence for a person, the FHIRPath expression."""

    key: str
    severity: str
    human: str
    expression: str


class Element(msgspec.Struct, frozen=True):
    """One element of a type, by its definition name (`value` for value[x]).

    `json`: JSON property name -> type code (`valueQuantity` -> `Quantity`; one pair for plain elements). A backbone element's type
    is its own path ("Patient.contact"), a contentReference's the path it refers to, a contained resource's "Resource".
    `many`: max > 1. `targets`: resource types that a Reference or canonical may point to (empty: any). `binding`: ValueSet URL
    (without version) of a required binding. `constraints`: keys of the invariants of this place (ele-1 and ext-1 left out: every
    walk checks those by itself); the invariants of the element's type stand at the type.
    """

    name: str
    json: dict[str, str]
    many: bool
    min: int
    targets: tuple[str, ...] = ()
    binding: str | None = None
    summary: bool = False
    modifier: bool = False
    constraints: tuple[str, ...] = ()


class TypeDefinition(msgspec.Struct, frozen=True):
    """A resource, complex, backbone ("Patient.contact") or primitive type. `elements` include the inherited ones, in order.

    `kind`: resource | complex | backbone | primitive. `base`: the parent type's code (DomainResource, BackboneElement, `string` for
    `code`…). `constraints`: keys of the invariants of the type's root. `added`: it is no type of R4 (docs/adr/0023-views.md).
    """

    name: str
    kind: str
    base: str | None
    abstract: bool
    elements: dict[str, Element]
    constraints: tuple[str, ...] = ()
    added: bool = False


class SearchParameterDefinition(msgspec.Struct, frozen=True):
    """An official SearchParameter. `base`: resource types as published; `components`: (definition url, expression) of a composite."""

    url: str
    code: str
    kind: str
    base: tuple[str, ...]
    expression: str
    targets: tuple[str, ...] = ()
    components: tuple[tuple[str, str], ...] = ()
    description: str = ""


class ExtensionDefinition(msgspec.Struct, frozen=True):
    """A core extension: allowed value types (empty: it has nested extensions), and contexts (kind, expression)."""

    url: str
    values: tuple[str, ...]
    contexts: tuple[tuple[str, str], ...]
    modifier: bool = False


class Definitions(msgspec.Struct, frozen=True):
    """Everything the program needs of the R4 specification.

    `constraints`: by key; where R4 gives one key to different rules (inv-1), the later ones by "key@path".
    `value_sets`: ValueSet URL -> {system: codes}, for the required bindings that can be enumerated. `code_systems`: complete
    CodeSystems, URL -> codes; `hierarchies`: of those that have one, URL -> code -> the codes right above it.
    `compartments`: compartment type -> {resource type: parameter codes ("{def}": the resource itself)}.
    """

    types: dict[str, TypeDefinition]
    constraints: dict[str, Constraint]
    search_parameters: tuple[SearchParameterDefinition, ...]
    value_sets: dict[str, dict[str, frozenset[str]]]
    code_systems: dict[str, frozenset[str]]
    compartments: dict[str, dict[str, tuple[str, ...]]]
    extensions: dict[str, ExtensionDefinition]
    hierarchies: dict[str, dict[str, tuple[str, ...]]] = {}

    @property
    def resource_types(self) -> tuple[str, ...]:
        """The 146 concrete resource types, sorted, and behind them those that are added to R4's."""
        concrete = [t for t in self.types.values() if t.kind == "resource" and not t.abstract]
        return tuple(t.name for t in sorted(concrete, key=lambda t: (t.added, t.name)))

    @property
    def added_types(self) -> frozenset[str]:
        """The resource types that R4 does not have: what is to be a document of R4 (a CapabilityStatement) cannot name them."""
        return frozenset(t.name for t in self.types.values() if t.added)


def fhirpath(path: str) -> str:
    """A place told in JSON's names as FHIRPath tells it: `Observation.valueQuantity.unit` is `Observation.value.unit`.

    What stands inside a contained or enclosed resource keeps its names: the path does not tell of what type that is.
    """
    first, *rest = path.split(".")
    type, out = definitions().types.get(first), [first]
    for part in rest:
        name, bracket, index = part.partition("[")
        element = _element(type, name)
        out.append(f"{element.name if element else name}{bracket}{index}")
        type = definitions().types.get(element.json[name]) if element else None
    return ".".join(out)


def _element(type: TypeDefinition | None, name: str) -> Element | None:
    return next((element for element in type.elements.values() if name in element.json), None) if type else None


@lru_cache(maxsize=1)
def definitions() -> Definitions:
    """The compiled definitions. Raises FileNotFoundError with what to do if they were never compiled."""
    if not COMPILED.is_file():
        raise FileNotFoundError(f"{COMPILED} is missing: run `make setup`, which compiles the FHIR definitions")
    return msgspec.msgpack.decode(COMPILED.read_bytes(), type=Definitions)
