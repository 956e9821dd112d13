"""Which members of a document a view looks at: only they are decoded."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from conformance.fhirpath.model import definition
from conformance.fhirpath.nodes import Call, Member, Node, Scope, Variable, children_of
from fhir_server.views.expressions import Compiled
from resources.documents import decode, decoder_of

Decode = Callable[[bytes], dict[str, Any]]

_WHOLE_CALLS: Final = frozenset(("children", "descendants"))
_TYPE_CALLS: Final = frozenset(("getReferenceKey", "ofType", "as", "is"))
"""Their arguments are names of types."""
_ALWAYS: Final = ("resourceType", "id")


def decoder(resource_type: str, trees: Iterable[tuple[Node, Compiled | None]]) -> Decode:
    """What decodes a document of the type as far as the expressions look at it.

    Each name in an expression is taken for an element of the resource, wherever it stands: a few members too many cost little. Whoever
    looks at the resource as a whole gets all of it. Where the compiled expression is there too, its values are told.
    """
    found = definition(resource_type)
    assert found is not None
    names: set[str] = set()
    for tree, compiled in trees:
        if compiled is not None and (compiled.types is None or resource_type in compiled.types):
            return decode
        if not _names(tree, names, inside=False):
            return decode
    keys = [key for name in sorted(names) if name in found.elements for key in found.elements[name].json]
    return decoder_of((*_ALWAYS, *(key for key in keys if key not in _ALWAYS)))


def _names(tree: Node, names: set[str], *, inside: bool) -> bool:
    """Add the names in a tree; False if it may look at everything. `inside`: the tree is the target of a step."""
    if isinstance(tree, Call) and tree.name in _WHOLE_CALLS:
        return False
    if isinstance(tree, Scope | Variable) and tree.name in ("this", "resource", "context", "rootResource") and not inside:
        return False
    if isinstance(tree, Call) and tree.name == "extension":
        names.add("extension")
    if isinstance(tree, Member):
        names.add(tree.name)
        if tree.target is None and tree.name[:1].isupper() and not inside:
            return False
    step = isinstance(tree, Member)
    target = getattr(tree, "target", None)
    children = (target,) if isinstance(tree, Call) and tree.name in _TYPE_CALLS else children_of(tree)
    return all(_names(child, names, inside=step and child is target) for child in children if child is not None)
