"""Templates into answers. Everything put into a template is escaped."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smart_auth.errors import OAuthError
from smart_auth.service import Service
from smart_auth.web import NO_STORE, Cookie, WebResponse

_FOLDER = Path(__file__).parent


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(
    service: Service,
    template: str,
    *,
    status: int = 200,
    cookies: tuple[Cookie, ...] = (),
    form_targets: tuple[str, ...] = (),
    headers: Mapping[str, str] = MappingProxyType({}),
    **values: object,
) -> WebResponse:
    """The page that `templates/{template}.html` makes of `values`; `server` is what the server is called."""
    text = _environment().get_template(f"{template}.html").render(server=service.settings.sign_in_name, **values)
    return WebResponse(status, text.encode(), headers={**NO_STORE, **headers}, cookies=cookies, form_targets=form_targets)


def error_page(service: Service, refusal: OAuthError) -> WebResponse:
    """For people: what went wrong, and what to do."""
    return page(
        service, "error", status=refusal.status, headers=refusal.headers, error=refusal.error, description=refusal.description
    )
