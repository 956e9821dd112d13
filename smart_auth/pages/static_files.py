"""The style sheet and scripts of the pages."""

from functools import cache
from pathlib import Path

from smart_auth.errors import OAuthError
from smart_auth.service import Service
from smart_auth.web import WebRequest, WebResponse

_FOLDER = Path(__file__).parent / "static"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _KINDS}


async def static(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/static/{name}. Only files that were there at start: a name is never a path."""
    name = request.names["name"]
    if name not in _files():
        raise OAuthError("not_found", "there is no such file", 404)
    kind = _KINDS[Path(name).suffix]
    return WebResponse(200, _files()[name], kind, {"Cache-Control": "public, max-age=3600"})
