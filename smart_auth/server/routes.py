"""The addresses that apps and services call."""

from smart_auth.server.authorize import authorize
from smart_auth.server.token import token
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/oauth/authorize", authorize, page=True),
    WebRoute("POST", "/oauth/authorize", authorize, page=True),
    WebRoute("POST", "/oauth/token", token, cors=True),
)
