"""Whether a caller may do what a row of the REST table does: asked once for every interaction, before anything is read or written.

`fhir_server/perform.py` asks for each request and each entry of a batch, `fhir_server/bundles/steps.py` for each entry of a transaction.
"""

from fhir_server.context import Context
from fhir_server.messages import Identity
from fhir_server.rest.identity import unauthorized
from fhir_server.rest.routing import Route
from resources.outcomes import not_allowed

APPEND_ONLY = frozenset(("AuditEvent",))
"""Resource types that can be created and read but never changed or deleted: the record of accesses only grows."""


def permitted(ctx: Context, who: Identity, route: Route[Context], type: str, id: str) -> None:
    """Returns if `who` may carry out `route` on `type` (and `id`, "" where the path has none); what it needs is `route.access`.

    Raises FhirError 405 for a change of what can only grow, 401 where a token is needed and none came.
    """
    if who.anonymous and route.interaction != "capabilities":
        raise unauthorized("This needs an access token: send Authorization: Bearer TOKEN ([base]/.well-known/smart-configuration)")
    if route.alters and type in APPEND_ONLY:
        raise not_allowed(f"{type}s cannot be changed or deleted; they can only be created and read", ("GET", "HEAD"))
