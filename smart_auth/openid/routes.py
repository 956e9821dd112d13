"""The addresses of the documents by which apps find everything, and of userinfo; scripts of any origin may read them."""

from smart_auth.openid import discovery
from smart_auth.openid.style import style
from smart_auth.openid.userinfo import userinfo
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/fhir/.well-known/smart-configuration", discovery.smart_configuration, cors=True),
    WebRoute("GET", "/.well-known/openid-configuration", discovery.openid_configuration, cors=True),
    WebRoute("GET", "/.well-known/oauth-authorization-server", discovery.authorization_server, cors=True),
    WebRoute("GET", "/oauth/jwks", discovery.jwks, cors=True),
    WebRoute("GET", "/oauth/userinfo", userinfo, cors=True),
    WebRoute("POST", "/oauth/userinfo", userinfo, cors=True),
    WebRoute("GET", "/oauth/style.json", style, cors=True),
)
