"""The addresses of the pages for people."""

from smart_auth.outside.local import local
from smart_auth.people import account, change_password, reset, sign_in, sign_out
from smart_auth.people.factors import second_factor, set_up
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/oauth/sign-in", sign_in.show, page=True),
    WebRoute("POST", "/oauth/sign-in", local(sign_in.sign_in), page=True),
    WebRoute("GET", "/oauth/second-factor", second_factor.show, page=True),
    WebRoute("POST", "/oauth/second-factor", second_factor.answer, page=True),
    WebRoute("GET", "/oauth/second-factor/set-up", set_up.show, page=True),
    WebRoute("POST", "/oauth/second-factor/set-up", set_up.set_up, page=True),
    WebRoute("GET", "/oauth/reset", local(reset.show), page=True),
    WebRoute("POST", "/oauth/reset", local(reset.ask), page=True),
    WebRoute("POST", "/oauth/reset/password", local(reset.choose), page=True),
    WebRoute("GET", "/oauth/logout", sign_out.show, page=True),
    WebRoute("POST", "/oauth/logout", sign_out.sign_out, page=True),
    WebRoute("GET", "/account", account.show, page=True),
    WebRoute("POST", "/account/sessions", account.end_sessions, page=True),
    WebRoute("POST", "/account/password", local(change_password.change), page=True),
    WebRoute("GET", "/account/second-factor", set_up.show, page=True),
    WebRoute("POST", "/account/second-factor", set_up.set_up, page=True),
    WebRoute("POST", "/account/second-factor/remove", set_up.remove, page=True),
    WebRoute("POST", "/account/recovery-codes", set_up.renew_codes, page=True),
)
