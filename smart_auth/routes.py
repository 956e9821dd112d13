"""The addresses of the authorization server, below the root of the server."""

from smart_auth.consent.routes import ROUTES as CONSENT
from smart_auth.openid.routes import ROUTES as OPENID
from smart_auth.outside.routes import ROUTES as OUTSIDE
from smart_auth.pages.static_files import static
from smart_auth.people.routes import ROUTES as PEOPLE
from smart_auth.server.routes import ROUTES as APPS
from smart_auth.web import WebRoute

ROUTES = (WebRoute("GET", "/oauth/static/{name}", static, page=True), *PEOPLE, *APPS, *CONSENT, *OPENID, *OUTSIDE)
