"""Signing out (also as OpenID Connect RP-Initiated Logout 1.0 asks for it: a page where the user says yes)."""

from smart_auth.happenings import Happening
from smart_auth.pages.rendering import page
from smart_auth.people.browser import SESSION, cookie
from smart_auth.people.sessions import check_csrf, ended, signed_in
from smart_auth.service import Service
from smart_auth.web import WebRequest, WebResponse


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/logout: asks first, because a link on any page could lead here. `id_token_hint` and the other parameters change nothing:
    whose session ends is told by the browser's cookie, and no browser is sent to another server from here."""
    found = await signed_in(service, request)
    return page(service, "sign_out", user=found[1] if found else None, csrf=found[0].csrf if found else "")


async def sign_out(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/logout: end the session."""
    found = await signed_in(service, request)
    if found is not None:
        session, user = found
        check_csrf(service, request, session)
        await service.commit(
            ended(session), happening=Happening("logout", "signed out", subject=user.name, address=request.address)
        )
    return page(service, "sign_out", user=None, csrf="", cookies=(cookie(service, SESSION, ""),))
