"""Chained sort keys: `_sort=patient.birthdate`, `_sort=-subject:Patient.organization.name`."""

from search.parameters import Parameters
from search.query import Via
from search.reading.hints import a, close_to

MAX_LINKS = 3


def read_links(type: str, code: str, parameters: Parameters) -> tuple[tuple[Via, ...], str, str, str]:
    """(links, the type at their end, the parameter's code there, what is wrong or "") of a sort key without its sign."""
    *links, last = code.split(".")
    found: list[Via] = []
    if len(links) > MAX_LINKS:
        return (), type, last, f"{code[:100]!r} has more than {MAX_LINKS} links to sort by"
    for link in links:
        name, _, target = link.partition(":")
        reference = parameters.find(type, name)
        if reference is None or not reference.includable:
            near = close_to(name, [p.code for p in parameters.of(type).values() if p.includable])
            return (), type, last, f"{type} has no reference parameter {name[:100]!r} to sort by{near}"
        if not target and len(reference.targets) != 1:
            return (), type, last, f"{name} may lead to several types: name the one to sort by, as in {name}:Patient.{last[:60]}"
        target = target or reference.targets[0]
        if target not in parameters.types or (reference.targets and target not in reference.targets):
            near = close_to(target, reference.targets or parameters.types)
            if target not in parameters.types:
                return (), type, last, f"{target[:100]!r} is no resource type of FHIR R4{near}"
            return (), type, last, f"{type}.{name} never refers to {a(target)}{near}"
        found.append(Via(reference, target))
        type = target
    return tuple(found), type, last, ""
