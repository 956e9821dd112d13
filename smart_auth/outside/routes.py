"""The addresses of sign-in from outside."""

from smart_auth.outside import sign_in
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/oauth/outside/sign-in", sign_in.begin, page=True),
    WebRoute("GET", "/oauth/outside/callback", sign_in.back, page=True),
)
