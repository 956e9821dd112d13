"""How apps should look here: `smart_style_url` of a token response
(https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#styling)."""

from typing import Any, Final

from smart_auth.openid.style_file import read_style
from smart_auth.service import Service
from smart_auth.web import WebRequest, WebResponse, as_json

STYLE: Final[dict[str, Any]] = {
    "color_background": "#ffffff",
    "color_error": "#b3261e",
    "color_highlight": "#1a5fb4",
    "color_modal_backdrop": "#00000066",
    "color_success": "#1b7f4b",
    "color_text": "#1f2328",
    "dim_border_radius": "6px",
    "dim_font_size": "16px",
    "dim_spacing_size": "16px",
    "font_family_body": "system-ui, sans-serif",
    "font_family_heading": "system-ui, sans-serif",
}


async def style(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/style.json, for anybody."""
    path = service.settings.style_file
    return as_json(STYLE if path is None else read_style(path), headers={"Cache-Control": "public, max-age=300"})
