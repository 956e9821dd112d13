"""The addresses that apps and services call."""

from smart_auth.app_state.endpoints import ROUTES as APP_STATE
from smart_auth.brands.endpoint import brands
from smart_auth.registration.register import register
from smart_auth.server.authorize import authorize
from smart_auth.server.introspect import introspect
from smart_auth.server.launch import launch
from smart_auth.server.revoke import revoke
from smart_auth.server.token import token
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/oauth/authorize", authorize, page=True),
    WebRoute("POST", "/oauth/authorize", authorize, page=True),
    WebRoute("POST", "/oauth/token", token, cors=True),
    WebRoute("POST", "/oauth/introspect", introspect, cors=True),
    WebRoute("POST", "/oauth/revoke", revoke, cors=True),
    WebRoute("POST", "/oauth/register", register, cors=True, most=100_000),
    WebRoute("POST", "/oauth/launch", launch, cors=True),
    WebRoute("GET", "/oauth/brands", brands, cors=True),
    *APP_STATE,
)
