"""What is answered outside of the FHIR base: where the server's parts are, for whoever comes by an address that is none of them."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fhir_server.rest.edge import base_of
from fhir_server.rest.negotiation import FHIR_JSON
from resources.outcomes import not_found, operation_outcome, shown


class Front:
    """The answers of one server. `base_url` is its FHIR base as it is set ("": as the caller wrote it), `prefix` its path ("/fhir").
    `signing_in`: whether requests need an access token."""

    def __init__(self, base_url: str, prefix: str, *, signing_in: bool) -> None:
        self._base_url, self._prefix, self._signing_in = base_url, prefix, signing_in

    async def welcome(self, request: Request) -> Response:
        """200 with the addresses that a newcomer wants, as JSON."""
        base = self._base(request)
        parts = {
            "server": "FHIR R4 (4.0.1)",
            "fhir": base,
            "what it offers": f"{base}/metadata",
            "a first search": f"{base}/Patient?_count=5",
            **({"how to sign in": f"{base}/.well-known/smart-configuration"} if self._signing_in else {}),
            "is it well": "/readyz",
            "metrics": "/metrics",
            "documentation": "the folder docs of the distribution; docs/api has a page for each interaction",
        }
        return Response(msgspec.json.format(msgspec.json.encode(parts), indent=2) + b"\n", media_type="application/json")

    async def nothing(self, request: Request, _: Exception) -> Response:
        """404 with an OperationOutcome that says where the FHIR interface is."""
        path, base = request.url.path, self._base(request)
        text = f"There is nothing at {shown(path)}; the FHIR interface is at {base}, and {base}/metadata says what it offers"
        if path.lower().startswith(f"{self._prefix}/") and not path.startswith(self._prefix):
            text = f"There is nothing at {shown(path)}; capitals count: did you mean {shown(self._prefix + path[len(self._prefix) :])}?"
        return Response(operation_outcome(not_found(text).issues), status_code=404, media_type=FHIR_JSON)

    def _base(self, request: Request) -> str:
        return self._base_url or base_of(request.url.scheme, request.headers.get("host", ""), self._prefix)
