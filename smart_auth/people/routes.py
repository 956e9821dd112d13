"""The addresses of the pages for people."""

from smart_auth.people import account, sign_in, sign_out
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/oauth/sign-in", sign_in.show, page=True),
    WebRoute("POST", "/oauth/sign-in", sign_in.sign_in, page=True),
    WebRoute("GET", "/oauth/logout", sign_out.show, page=True),
    WebRoute("POST", "/oauth/logout", sign_out.sign_out, page=True),
    WebRoute("GET", "/account", account.show, page=True),
    WebRoute("POST", "/account/sessions", account.end_sessions, page=True),
)
