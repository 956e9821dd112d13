"""Clauses that are short for other conditions, spelled out before an index sees them.

- A composite: each component's own clause is implied, and can drive a search. Where the element is the whole resource these say all.
- `:of-type`: the identifier's value is implied.
- `:above` on a uri: the paths above are few, and named.
- `:below` and `:above` on a reference into a hierarchy (Location.partof): chains, link by link.
"""

from collections.abc import Sequence
from dataclasses import replace

from search.expansion.composites import at_root, below_root
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import AllOf, AnyOf, Chain, Clause, Condition, Has, Modifier, Term
from search.values import ReferenceValue, TokenValue

MAX_LEVELS = 12
"""Most levels of a hierarchy above or below the one that is named; what lies farther away is not found."""

_HIERARCHIES = ("partof", "part-of")


def expanded(clause: Clause, parameters: Parameters) -> Condition:
    """The condition that a clause is short for, or the clause itself."""
    kind, modifier = clause.parameter.kind, clause.modifier
    if kind == "composite":
        return _composite(clause, parameters)
    if modifier is Modifier.OF_TYPE:
        values = tuple(dict.fromkeys(term.parts[1] for term in clause.terms))
        return AllOf((Clause(clause.parameter, Modifier.NONE, values), clause))
    if modifier is Modifier.ABOVE and kind == "uri":
        return replace(clause, modifier=Modifier.NONE)
    if modifier in (Modifier.ABOVE, Modifier.BELOW) and kind == "reference":
        return _transitive(clause, parameters)
    return clause


def hierarchy(parameter: SearchParameter, parameters: Parameters) -> SearchParameter | None:
    """The parameter by which the type that a reference parameter leads to refers to its own kind, such as Location.partof.

    None if there is none, or if the reference may lead to several types that have one."""
    found = [up for type in parameter.targets if (up := _upwards(type, parameters)) is not None]
    return found[0] if len(found) == 1 else None


def _upwards(type: str, parameters: Parameters) -> SearchParameter | None:
    mine = (parameters.find(type, code) for code in _HIERARCHIES)
    return next((p for p in mine if p is not None and p.includable and p.targets == (type,)), None)


def _composite(clause: Clause, parameters: Parameters) -> Condition:
    composite = clause.parameter
    implied = [_implied(place, clause.terms, composite) for place in range(len(composite.components))]
    exact: list[Condition] = []
    root = _root(composite, parameters)
    if root is not None:
        exact += _grouped(root, clause.terms)
    if below_root(composite):
        exact.append(clause)
    if root is composite and len(exact) == 1:
        return exact[0]
    return AllOf((*implied, AnyOf(tuple(exact)) if len(exact) > 1 else exact[0]))


def _implied(place: int, terms: Sequence[Term], composite: SearchParameter) -> Clause:
    return Clause(composite.components[place].parameter, Modifier.NONE, tuple(dict.fromkeys(term.parts[place] for term in terms)))


def _grouped(root: SearchParameter, terms: Sequence[Term]) -> list[Condition]:
    """Alternatives of which one must hold: terms that differ in one part only are one, since a$x,a$y is a with x or y."""
    groups = min((_alike(terms, place) for place in range(len(root.components))), key=len)
    return [
        AllOf(
            tuple(
                Clause(component.parameter, Modifier.NONE, parts) for component, parts in zip(root.components, group, strict=True)
            )
        )
        for group in groups
    ]


def _alike(terms: Sequence[Term], place: int) -> list[tuple[tuple[Term, ...], ...]]:
    """For each group of terms that have all parts but that at `place` in common, the alternatives for each part."""
    found: dict[tuple[Term, ...], dict[Term, None]] = {}
    for term in terms:
        found.setdefault((*term.parts[:place], *term.parts[place + 1 :]), {})[term.parts[place]] = None
    return [
        (*((part,) for part in rest[:place]), tuple(differing), *((part,) for part in rest[place:]))
        for rest, differing in found.items()
    ]


def _root(composite: SearchParameter, parameters: Parameters) -> SearchParameter | None:
    """The composite of the whole resource alone that has the same components: code-value-quantity for combo-code-value-quantity."""
    if not at_root(composite):
        return None
    alike = [
        p
        for p in parameters.of(composite.type).values()
        if p.kind == "composite"
        and p.searchable
        and [c.expression for c in p.components] == [c.expression for c in composite.components]
        and at_root(p)
        and not below_root(p)
    ]
    return alike[0]


def _transitive(clause: Clause, parameters: Parameters) -> Condition:
    up = hierarchy(clause.parameter, parameters)
    assert up is not None
    plain = replace(clause, modifier=Modifier.NONE)
    ids = [str(term.value[0]).removeprefix(f"{up.type}/") for term in clause.terms if not term.types or up.type in term.types]
    ids = [id for id in ids if "/" not in id]
    if not ids:
        return plain
    there = _below(up, ids) if clause.modifier is Modifier.BELOW else _above(up, ids, parameters)
    return AnyOf((plain, Chain((clause.parameter,), up.type, (there,))))


def _below(up: SearchParameter, ids: Sequence[str]) -> Condition:
    """Documents of the hierarchy that lie below one of those named."""
    here: Condition = Clause(up, Modifier.NONE, tuple(Term(ReferenceValue(f"{up.type}/{id}")) for id in ids))
    found = here
    for _ in range(MAX_LEVELS - 1):
        found = AnyOf((here, Chain((up,), up.type, (found,))))
    return found


def _above(up: SearchParameter, ids: Sequence[str], parameters: Parameters) -> Condition:
    """Documents of the hierarchy that lie above one of those named, or are one of them."""
    id = parameters.find(up.type, "_id")
    assert id is not None
    here: Condition = Clause(id, Modifier.NONE, tuple(Term(TokenValue("", each)) for each in ids))
    found = here
    for _ in range(MAX_LEVELS):
        found = AnyOf((here, Has(up.type, (up,), (found,))))
    return found
