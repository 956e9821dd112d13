"""The consent page: what an app asks for, in words, and the answer of the user (SMART App Launch 2.2, "scopes and launch context").

What is granted is what the form posts, and each part of it must lie within what was asked for and is possible.
"""

from urllib.parse import urlsplit

from smart_auth.clients import Client, find_client
from smart_auth.consent.choices import granted, offers
from smart_auth.consent.context import Waiting, Whose, reachable, waiting
from smart_auth.consent.remembered import skips
from smart_auth.consent.targets import form_targets
from smart_auth.errors import OAuthError, invalid_request
from smart_auth.pages.rendering import page
from smart_auth.people.sessions import check_csrf
from smart_auth.scopes import Scopes
from smart_auth.server.asked_scopes import named
from smart_auth.server.authorizations import allow, deny
from smart_auth.service import Person, Service
from smart_auth.web import WebRequest, WebResponse, redirect


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/consent?request=ID: the page, or what has to come before it: signing in, choosing a patient."""
    waits = await waiting(service, request, request.single().get("request", ""))
    if isinstance(waits, WebResponse):
        return waits
    if waits.lacks_patient or waits.pending.needs_encounter:
        return redirect(f"/oauth/patient?request={waits.pending.id}")
    client, patient = await _client(service, waits), await _patient(service, waits)
    if await skips(service, client, waits):
        return await _allowed(service, waits, waits.grantable)
    return _page(service, waits, client, patient)


async def answer(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/consent: `decision` (`allow`, `deny`) and one `scope` for each that is granted.

    Raises OAuthError for a form that was not made by us, or was changed: nothing is granted then, and the app hears nothing.
    """
    single = request.single(of=tuple(field for field in request.form if field[0] != "scope"))
    waits = await waiting(service, request, single.get("request", ""))
    if isinstance(waits, WebResponse):
        return waits
    check_csrf(service, request, waits.session)
    if single.get("decision") == "deny":
        return await deny(service, waits.pending)
    if single.get("decision") != "allow":
        raise invalid_request("The form says neither allow nor deny")
    if waits.lacks_patient:
        return redirect(f"/oauth/consent?request={waits.pending.id}")
    client, patient = await _client(service, waits), await _patient(service, waits)
    posted = [value for name, value in request.form if name == "scope"]
    scopes = granted(posted, waits.grantable, service.directory.problem)
    if not scopes.resources and not scopes.words:
        return _page(service, waits, client, patient, "Choose at least one thing that the app may do, or refuse.", frozenset())
    return await _allowed(service, waits, scopes)


async def _allowed(service: Service, waits: Waiting, scopes: Scopes) -> WebResponse:
    pending = waits.pending
    return await allow(service, pending, waits.user, waits.session, scopes.text, pending.patient, pending.encounter)


async def _client(service: Service, waits: Waiting) -> Client:
    client = await find_client(service.store, waits.pending.client)
    if client is None:
        raise OAuthError("unauthorized_client", "This app is no longer registered here.", 403)
    return client


async def _patient(service: Service, waits: Waiting) -> Person | None:
    """The patient that the app is started for; None where it is started for nobody. Raises OAuthError where the user may not see them:
    they were chosen in the record system, or are hidden since."""
    if not waits.pending.patient:
        return None
    patient = await reachable(service, waits, waits.pending.patient)
    if patient is None:
        raise OAuthError("access_denied", "You cannot start apps for this patient with your account.", 403)
    return patient


def _page(
    service: Service,
    waits: Waiting,
    client: Client,
    patient: Person | None,
    problem: str = "",
    chosen: frozenset[str] | None = None,
) -> WebResponse:
    own = patient is not None and patient.reference == waits.user.fhir_user
    parts = urlsplit(waits.pending.redirect_uri)
    return page(
        service,
        "consent",
        status=400 if problem else 200,
        form_targets=form_targets(waits.pending),
        client=client.name,
        site=parts.netloc.rpartition("@")[2] or f"{parts.scheme}:",
        unknown=bool(client.opened),
        user=waits.user,
        patient=patient,
        own=own,
        left_out=waits.pending.left_out,
        beyond=named(waits.beyond_role),
        groups=offers(waits.grantable, Whose(waits.user, patient), chosen),
        csrf=waits.session.csrf,
        asked=waits.pending.id,
        problem=problem,
    )
