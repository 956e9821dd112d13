"""What expressions compute with: typed nodes of a document, and System values (bool, int, Decimal, str, Temporal, Quantity).

A collection is a list of such. FHIR primitives convert to System values wherever an operator or function needs one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from conformance.fhirpath import quantity as units
from conformance.fhirpath.budget import TEXT, Budget, size
from conformance.fhirpath.model import definition, element, is_primitive, is_resource, is_subtype, system_of
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.quantity import Quantity
from conformance.fhirpath.temporal import Temporal, compare, parse_datetime, parse_time, utc

UCUM: Final = "http://unitsofmeasure.org"

Collection = list[Any]


class Item:
    """A node of a document: its JSON `value` (None for a primitive with nothing but extensions), its FHIR `type`, and the primitive's
    `_name` sibling in `extra`."""

    __slots__ = ("extra", "type", "value")

    def __init__(self, value: Any, type_name: str, extra: Any = None) -> None:
        self.value = value
        self.type = type_name
        self.extra = extra


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """What `type()` gives."""

    namespace: str
    name: str


@dataclass(slots=True)
class Environment:
    """Where an expression is evaluated: `this` is the collection that names are looked up in; `moment` is fixed for one evaluation."""

    this: Collection
    resource: Item
    root: Item
    context: Collection
    moment: Temporal
    variables: Mapping[str, Any] = field(default_factory=dict)
    index: int | None = None
    total: Collection = field(default_factory=list)

    def on(self, item: Any, index: int) -> "Environment":
        """The same, for one item of a collection."""
        return Environment([item], self.resource, self.root, self.context, self.moment, self.variables, index, self.total)

    def empty(self) -> "Environment":
        """The same, with nothing for `$this`."""
        return Environment([], self.resource, self.root, self.context, self.moment, self.variables, self.index, self.total)


def typed(value: Any, type_name: str, extra: Any = None) -> Item:
    """An Item; where the type is an abstract resource, of the type that the resource itself tells."""
    if is_resource(type_name) and isinstance(value, dict):
        told = value.get("resourceType")
        if isinstance(told, str) and definition(told) is not None:
            return Item(value, told)
    return Item(value, type_name, extra)


def property_of(item: Any, name: str) -> Collection:
    """The children of a node that an element's name leads to; [] for System values and absent elements."""
    if isinstance(item, TypeInfo):
        return [getattr(item, name)] if name in ("namespace", "name") else []
    if not isinstance(item, Item):
        return []
    if is_primitive(item.type):
        return _primitive_child(item, name)
    found = element(item.type, name)
    if found is None or not isinstance(item.value, dict):
        return []
    made: Collection = []
    for key, code in found.json.items():
        _collect(made, item.value, key, "id" if name == "id" and is_resource(item.type) else code)
    return made


def _primitive_child(item: Item, name: str) -> Collection:
    if not isinstance(item.extra, dict) or name not in ("id", "extension") or name not in item.extra:
        return []
    if name == "id":
        return [Item(item.extra["id"], "string")]
    return [Item(e, "Extension") for e in item.extra["extension"]]


def _collect(made: Collection, value: Mapping[str, Any], key: str, code: str) -> None:
    primitive = is_primitive(code)
    found, extra = value.get(key), value.get("_" + key) if primitive else None
    if isinstance(found, list) or isinstance(extra, list):
        first, second = found or [], extra or []
        for i in range(max(len(first), len(second))):
            one = first[i] if i < len(first) else None
            beside = second[i] if i < len(second) else None
            if one is not None or beside is not None:
                made.append(typed(one, code, beside))
    elif found is not None or extra is not None:
        made.append(typed(found, code, extra))


@lru_cache(maxsize=2_048)
def _keys(type_name: str) -> Mapping[str, str]:
    """JSON property -> type code, of a type."""
    found = definition(type_name)
    return {k: c for e in found.elements.values() for k, c in e.json.items()} if found is not None else {}


def children(item: Any) -> Collection:
    """All the children of a node, in the document's order."""
    if not isinstance(item, Item):
        return []
    if is_primitive(item.type):
        return [*_primitive_child(item, "id"), *_primitive_child(item, "extension")]
    made: Collection = []
    known = _keys(item.type)
    for key in item.value:
        plain = key.removeprefix("_")
        if plain in known and (plain == key or plain not in item.value):
            _collect(made, item.value, plain, known[plain])
    return made


def type_of(value: Any) -> TypeInfo:
    """The type of an item: FHIR's for nodes, System's for the rest."""
    if isinstance(value, Item):
        return TypeInfo("FHIR", value.type)
    return TypeInfo("System", _system_name(value))


def _system_name(value: Any) -> str:
    match value:
        case bool():
            return "Boolean"
        case int():
            return "Integer"
        case Decimal() | float():
            return "Decimal"
        case str():
            return "String"
        case Temporal(kind=kind):
            return kind
        case Quantity():
            return "Quantity"
    return "Any"


def system(value: Any) -> Any:
    """The System value of a FHIR primitive or Quantity; None for a primitive without value; everything else as it is."""
    if not isinstance(value, Item):
        return value
    if is_primitive(value.type):
        return None if value.value is None else _converted(value.value, system_of(value.type))
    if is_subtype(value.type, "Quantity"):
        return _quantity(value)
    return value


def _converted(value: Any, system_type: str) -> Any:
    if system_type in ("Date", "DateTime"):
        found = parse_datetime(value)
        if found is not None and system_type == "DateTime" and found.kind == "Date":
            found = Temporal("DateTime", found.fields)
        return found if found is not None else value
    if system_type == "Time":
        return parse_time(value) or value
    if system_type == "Decimal":
        return decimal(value) if isinstance(value, int | float | Decimal) else value
    return value


def decimal(value: int | float | Decimal) -> Decimal:
    """A JSON number as Decimal."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _quantity(item: Item) -> Any:
    """The Quantity that a FHIR Quantity means, by its UCUM code, else its other code or its unit; the Item itself without a value."""
    raw = item.value
    if not isinstance(raw, dict) or "value" not in raw or raw.get("comparator"):
        return item
    return Quantity(decimal(raw["value"]), raw.get("code") or raw.get("unit") or "1")


def charge(budget: Budget, collection: Collection, *, deep: bool = False, work: int = 1) -> None:
    """Count what it takes to go through a collection: its items and their text; `deep`: with all that is below them. Raises TooCostly."""
    left = budget.left - len(collection)
    for one in collection:
        value = one.value if type(one) is Item else one
        if type(value) is str:
            left -= (len(value) * work) >> TEXT
        elif deep and type(value) in (dict, list):
            left -= size(value)
            if left < 0:
                break
    budget.left = left
    if left < 0:
        budget.spend(0)


def single(collection: Collection, what: str) -> Any:
    """The System value of a collection of one, None of an empty one. Raises FhirPathError if there are more."""
    if not collection:
        return None
    if len(collection) > 1:
        raise FhirPathError(f"{what} needs one value, there are {len(collection)}")
    return system(collection[0])


def single_text(collection: Collection, what: str) -> str | None:
    """As `single`, for a string. Raises FhirPathError if it is something else."""
    value = single(collection, what)
    if isinstance(value, Temporal):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise FhirPathError(f"{what} needs a string, this is {type_of(value).name if not isinstance(value, Item) else value.type}")
    return value


def single_integer(collection: Collection, what: str) -> int | None:
    """As `single`, for an integer. Raises FhirPathError if it is something else."""
    value = single(collection, what)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise FhirPathError(f"{what} needs an integer")
    return value


def boolean(collection: Collection, what: str) -> bool | None:
    """Singleton evaluation: a boolean as it is, one other item is true, nothing is None. Raises FhirPathError if there are more."""
    if not collection:
        return None
    value = single(collection, what)
    return value if isinstance(value, bool) else True


def equal(left: Any, right: Any) -> bool | None:
    """`=` of two items; None where precision or units leave it open (http://hl7.org/fhirpath/N1/#equality)."""
    a, b = system(left), system(right)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | Decimal) and isinstance(b, int | Decimal):
        return a == b
    if isinstance(a, Temporal) and isinstance(b, Temporal):
        return _temporal_equal(a, b)
    if isinstance(a, Quantity) or isinstance(b, Quantity):
        return _quantity_equal(a, b)
    if isinstance(a, Item) and isinstance(b, Item):
        return bool(a.value == b.value)
    if isinstance(a, Temporal) and isinstance(b, str):
        return str(a) == b
    if isinstance(a, str) and isinstance(b, Temporal):
        return a == str(b)
    return bool(type(a) is type(b) and a == b)


def _temporal_equal(a: Temporal, b: Temporal) -> bool | None:
    if (a.kind == "Time") != (b.kind == "Time"):
        return False
    order = compare(a, b)
    return None if order is None else order == 0


def _quantity_equal(a: Any, b: Any) -> bool | None:
    first, second = as_quantity(a), as_quantity(b)
    if first is None or second is None:
        return False
    order = units.compare(first, second)
    return None if order is None else order == 0


def as_quantity(value: Any) -> Quantity | None:
    """A Quantity, or a number as one without unit; None for the rest."""
    if isinstance(value, Quantity):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Quantity(decimal(value))
    return None


def equal_collections(left: Collection, right: Collection) -> bool | None:
    """`=` of two collections: None if one is empty or an item leaves it open, order matters."""
    a, b = _present(left), _present(right)
    if not a or not b:
        return None
    if len(a) != len(b):
        return False
    results = [equal(x, y) for x, y in zip(a, b, strict=True)]
    return False if False in results else None if None in results else True


def _present(collection: Collection) -> Collection:
    return [v for v in collection if system(v) is not None]


def equivalent(left: Any, right: Any) -> bool:
    """`~` of two items (http://hl7.org/fhirpath/N1/#equivalence)."""
    a, b = system(left), system(right)
    if isinstance(a, str) and isinstance(b, str):
        return " ".join(a.casefold().split()) == " ".join(b.casefold().split())
    if isinstance(a, int | Decimal) and isinstance(b, int | Decimal) and not isinstance(a, bool) and not isinstance(b, bool):
        digits = min(units.places(decimal(a)), units.places(decimal(b)))
        return round(decimal(a), digits) == round(decimal(b), digits)
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        return units.equivalent(a, b)
    if isinstance(a, Item) and isinstance(b, Item):
        return _alike(a, b)
    return equal(left, right) is True


def _alike(a: Item, b: Item) -> bool:
    if not isinstance(a.value, dict) or not isinstance(b.value, dict):
        return bool(a.value == b.value)
    names = {k.removeprefix("_") for k in (*a.value, *b.value)} - {"id", "resourceType"}
    return all(equivalent_collections(_by_key(a, n), _by_key(b, n)) for n in names)


def _by_key(item: Item, key: str) -> Collection:
    made: Collection = []
    code = _keys(item.type).get(key)
    if code is not None:
        _collect(made, item.value, key, code)
    return made


def equivalent_collections(left: Collection, right: Collection) -> bool:
    """`~` of two collections: order does not matter, two empty ones are equivalent."""
    if len(left) != len(right):
        return False
    rest = list(right)
    for one in left:
        at = next((i for i, other in enumerate(rest) if equivalent(one, other)), None)
        if at is None:
            return False
        del rest[at]
    return True


def key(value: Any) -> object:
    """A hashable that two items share if they are equal: sets instead of comparing all with all."""
    found = system(value) if not isinstance(value, Item) or is_primitive(value.type) else value
    match found:
        case None if isinstance(value, Item):
            return ("extra", frozen(value.extra))
        case bool() | str():
            return (type(found), found)
        case int() | Decimal():
            return ("number", found)
        case Temporal():
            at = utc(found)
            return ("Time" if at.kind == "Time" else "Date", at.fields, at.fraction.rstrip("0"))
        case Quantity():
            return ("quantity", *units.canonical(found))
        case Item():
            return frozen(found.value)
    return ("other", found)


def frozen(value: Any) -> object:
    """JSON as a hashable; numbers of one value are one, whatever their spelling."""
    if isinstance(value, dict):
        return frozenset((k, frozen(v)) for k, v in value.items())
    if isinstance(value, list):
        return tuple(frozen(v) for v in value)
    return (isinstance(value, bool), value)


def distinct(collection: Iterable[Any]) -> Collection:
    """Without repetitions, the first of each kept."""
    made: dict[object, Any] = {}
    for value in collection:
        made.setdefault(key(value), value)
    return list(made.values())
