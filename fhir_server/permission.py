"""Whether a caller may do what a row of the REST table does: asked once for every interaction, before anything is read or written.

`fhir_server/perform.py` asks for each request and each entry of a batch, `fhir_server/bundles/steps.py` for each entry of a transaction.
What is left is held by the views that handlers work with (docs/adr/0016): this only refuses what cannot succeed.
"""

from fhir_server.access.decision import Decision
from fhir_server.access.refusals import administration, insufficient
from fhir_server.context import Context
from fhir_server.messages import Identity
from fhir_server.rest.identity import unauthorized
from fhir_server.rest.routing import Route
from resources.outcomes import not_allowed, not_supported
from search.parameters import registry

APPEND_ONLY = frozenset(("AuditEvent",))
"""Resource types that can be created and read but never changed or deleted: the record of accesses only grows."""


def permitted(decision: Decision, who: Identity, route: Route[Context], type: str, operation: str = "") -> None:
    """Returns if `who` may carry out `route` on any document of `type` at all ("" where the path names none; `operation` is the last part
    of the path); what it needs is `route.access`.

    Raises FhirError 401 where a token is needed and none came, 405 for a change of what can only grow, 403 for too little access.
    """
    if who.anonymous and route.interaction != "capabilities":
        raise unauthorized("This needs an access token: send Authorization: Bearer TOKEN ([base]/.well-known/smart-configuration)")
    if route.alters and type in APPEND_ONLY:
        raise not_allowed(f"{type}s cannot be changed or deleted; they can only be created and read", ("GET", "HEAD"))
    if route.administers and not decision.administers:
        raise administration(decision)
    if "[compartment]" in route.pattern:
        type = operation if operation in registry().types else ""  # what is no type is told by the handler
    require(decision, route.access, type)


def check_entry(route: Route[Context]) -> None:
    """Raises FhirError 400 for a row that cannot be an entry of a Bundle: its answers are sent as they come, however long, or are no
    resources."""
    if route.any_format:
        raise not_supported(f"{route.label} has no answer that could be part of a Bundle; ask for it in a request of its own")


def require(decision: Decision | None, letters: str, type: str) -> None:
    """Raises FhirError 403 unless each of the letters reaches any document of the type ("": of any type)."""
    if decision is not None and not all(decision.covers(letter, type) for letter in letters):
        raise insufficient(decision, letters, type)
