"""The choice of a patient, and of a visit, for an app that is not started from a record (`launch/patient`, `launch/encounter`).

What is searched for travels in forms, never in URLs: names of patients do not belong into logs and histories.
"""

import re
from collections.abc import Sequence

from smart_auth.consent.context import Waiting, choose, may_look, own_patients, reachable, viewer, waiting
from smart_auth.consent.targets import form_targets
from smart_auth.errors import OAuthError
from smart_auth.pages.rendering import page
from smart_auth.people.sessions import check_csrf
from smart_auth.service import Person, Service, Visit
from smart_auth.web import WebRequest, WebResponse, redirect

MOST = 20
"""Patients and visits that are shown at a time; whoever is not among them is found by typing more."""
_LONGEST = 100
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}", re.ASCII)


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/patient?request=ID."""
    waits = await waiting(service, request, request.single().get("request", ""))
    return waits if isinstance(waits, WebResponse) else await _next(service, waits)


async def pick(service: Service, request: WebRequest) -> WebResponse:
    """POST /oauth/patient: `search` (show who matches), `patient` or `encounter` (an id; "" for no visit)."""
    form = request.single()
    waits = await waiting(service, request, form.get("request", ""))
    if isinstance(waits, WebResponse):
        return waits
    check_csrf(service, request, waits.session)
    if waits.lacks_patient and "patient" in form:
        return await _picked(service, waits, form["patient"])
    if not waits.lacks_patient and waits.pending.needs_encounter and "encounter" in form:
        return await _visited(service, waits, form["encounter"])
    return await _next(service, waits, form.get("search", "")[:_LONGEST])


async def _next(service: Service, waits: Waiting, text: str = "") -> WebResponse:
    """What is still to be chosen; on to the consent page when nothing is."""
    if waits.lacks_patient:
        return await _patients(service, waits, text)
    if waits.pending.needs_encounter:
        return await _visits(service, waits)
    return _onward(waits)


async def _patients(service: Service, waits: Waiting, text: str) -> WebResponse:
    if waits.for_patients_only:
        found = await own_patients(service, waits.user, waits.address)
        if not found:
            raise OAuthError(
                "access_denied", "Your account is not tied to a patient's record. Ask whoever gave it to you to do that.", 403
            )
        if len(found) == 1:
            await choose(service, waits, patient=_id(found[0].reference))
            return _onward(waits)
        return _page(service, waits, found, "", search=False, more=False)
    if not may_look(waits.user, "Patient"):
        raise OAuthError("access_denied", "This app needs a patient, and your role does not reach patients' records.", 403)
    found = await service.directory.patients(text, MOST + 1, viewer(service, waits))
    return _page(service, waits, found[:MOST], text, search=True, more=len(found) > MOST)


async def _picked(service: Service, waits: Waiting, id: str) -> WebResponse:
    patient = await reachable(service, waits, id) if _ID.fullmatch(id) else None
    if patient is None:
        raise OAuthError("access_denied", "There is no such patient, or not for you.", 403)
    await choose(service, waits, patient=id)
    return _onward(waits)


async def _visits(service: Service, waits: Waiting) -> WebResponse:
    found = await _known_visits(service, waits)
    if not found:
        return await _visited(service, waits, "")
    return page(
        service,
        "visit",
        form_targets=form_targets(waits.pending),
        visits=[{"id": _id(each.reference), "what": each.what, "day": each.day} for each in found],
        csrf=waits.session.csrf,
        asked=waits.pending.id,
    )


async def _known_visits(service: Service, waits: Waiting) -> tuple[Visit, ...]:
    """The patient's visits that the user may see: none without a patient."""
    who = waits.pending.patient
    if not who or not (may_look(waits.user, "Encounter") and await reachable(service, waits, who)):
        return ()
    return tuple(await service.directory.visits(who, MOST, viewer(service, waits)))


async def _visited(service: Service, waits: Waiting, id: str) -> WebResponse:
    """Note the visit; without one the app is not promised any: `launch/encounter` goes from what can be granted."""
    if not id:
        words = [part for part in waits.pending.scopes.split(" ") if part.partition("?")[0] != "launch/encounter"]
        await choose(service, waits, scopes=" ".join(words))
    elif id in [_id(each.reference) for each in await _known_visits(service, waits)]:
        await choose(service, waits, encounter=id)
    else:
        raise OAuthError("access_denied", "There is no such visit of this patient, or not for you.", 403)
    return _onward(waits)


def _onward(waits: Waiting) -> WebResponse:
    return redirect(f"/oauth/consent?request={waits.pending.id}")


def _page(service: Service, waits: Waiting, found: Sequence[Person], text: str, *, search: bool, more: bool) -> WebResponse:
    return page(
        service,
        "patient",
        form_targets=form_targets(waits.pending),
        patients=found,
        text=text,
        search=search,
        more=more,
        most=MOST,
        csrf=waits.session.csrf,
        asked=waits.pending.id,
    )


def _id(reference: str) -> str:
    return reference.partition("/")[2]
