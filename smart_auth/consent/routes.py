"""The addresses of what users grant."""

from smart_auth.consent import grants, page, picker
from smart_auth.web import WebRoute

ROUTES = (
    WebRoute("GET", "/oauth/consent", page.show, page=True),
    WebRoute("POST", "/oauth/consent", page.answer, page=True),
    WebRoute("GET", "/oauth/patient", picker.show, page=True),
    WebRoute("POST", "/oauth/patient", picker.pick, page=True),
    WebRoute("POST", "/account/apps", grants.revoke, page=True),
)
