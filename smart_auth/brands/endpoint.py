"""GET /oauth/brands: the Bundle of brands, for apps in which users look for their clinic."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from resources.instants import instant_text
from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.brands.bundle import Document, made_brands, primary, read_brands
from smart_auth.errors import OAuthError
from smart_auth.service import Service, Urls
from smart_auth.settings import SignInSettings
from smart_auth.tokens import digest
from smart_auth.web import WebRequest, WebResponse

KIND: Final = "brands"
PATH: Final = "/oauth/brands"
_encode = msgspec.json.Encoder(order="deterministic").encode


async def brands(service: Service, request: WebRequest) -> WebResponse:
    """200 with the Bundle, 304 where the app has it already. Raises OAuthError 404 where the operator has named no brand,
    StoreUnavailable."""
    bundle = _bundle(service.urls, service.settings)
    if bundle is None:
        raise OAuthError("not_found", "the operator of this server has named no brand", 404)
    mark = digest(_encode(bundle).decode())
    headers = {"ETag": f'W/"{mark[:32]}"', "Cache-Control": "public, max-age=300"}
    if headers["ETag"] in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
        return WebResponse(304, headers=headers)
    dated = {**bundle, "timestamp": bundle.get("timestamp") or await _since(service, mark)}
    return WebResponse(200, msgspec.json.encode(dated), "application/fhir+json", headers)


def advertised(urls: Urls, settings: SignInSettings) -> dict[str, Any]:
    """What SMART's configuration says of it: where the brands are, and which of them is this server's."""
    bundle = _bundle(urls, settings)
    if bundle is None:
        return {}
    identifier = primary(bundle)
    found: dict[str, Any] = {"user_access_brand_bundle": f"{urls.issuer}{PATH}"}
    return found | ({} if identifier is None else {"user_access_brand_identifier": identifier})


def _bundle(urls: Urls, settings: SignInSettings) -> Document | None:
    if settings.brand_file is not None:
        return _from_file(settings.brand_file)
    return made_brands(urls.issuer, urls.base, settings.brand_name, settings.brand_url) if settings.brand_name else None


@lru_cache(maxsize=4)
def _from_file(path: Path) -> Document:
    """The Bundle of FHIR_BRAND_FILE, read once."""
    return read_brands(path)


async def _since(service: Service, mark: str) -> str:
    """When the brands became as they are: noted when they are first asked for, the same for all processes."""
    record = await service.store.record(KIND, mark)
    if record is not None:
        return record.value.decode()
    now = instant_text(service.clock())
    try:
        await service.commit(RecordChange(KIND, mark, now.encode(), ABSENT))
    except Conflict:  # another process was first
        return await _since(service, mark)
    return now
