"""The account page: who one is here, the password, second factors, sessions, and what apps may do."""

from typing import Final

from resources.instants import instant_text
from resources.store import RecordChange
from smart_auth.consent.grants import grants_of
from smart_auth.happenings import Happening
from smart_auth.pages.rendering import page
from smart_auth.people.agents import named
from smart_auth.people.sessions import Session, all_ended, ended, required, sessions_of, signed_in
from smart_auth.service import Service
from smart_auth.users import User
from smart_auth.web import WebRequest, WebResponse, redirect

DONE: Final = {"password": "Your password is changed. Your other sessions have ended."}


async def show(service: Service, request: WebRequest) -> WebResponse:
    """GET /account. Whoever has not signed in is asked to."""
    found = await signed_in(service, request)
    if found is None:
        return redirect("/oauth/sign-in")
    done = DONE.get(request.single().get("done", ""), "")
    return await account_page(service, request, *found, done=done)


async def account_page(
    service: Service, request: WebRequest, session: Session, user: User, *, problem: str = "", done: str = ""
) -> WebResponse:
    """The page, with what went wrong or what was done."""
    sessions = [
        {
            "id": each.id,
            "here": each.id == session.id,
            "agent": named(each.agent),
            "address": each.address,
            "seen": shown_time(each.seen),
        }
        for each in await sessions_of(service, user.name)
    ]
    person = await service.directory.person(user.fhir_user) if user.fhir_user else None
    return page(
        service,
        "account",
        status=400 if problem else 200,
        user=user,
        person=person,
        csrf=session.csrf,
        sessions=sessions,
        passkeys=[{"id": each.id, "label": each.label, "added": shown_time(each.added)} for each in user.passkeys],
        grants=await grants_of(service, user, request.address),
        length=service.settings.password_length,
        problem=problem,
        done=done,
    )


async def end_sessions(service: Service, request: WebRequest) -> WebResponse:
    """POST /account/sessions: end the session with this `id`, or, without one, all others."""
    session, user = await required(service, request)
    wanted = request.single().get("id", "")
    changes: list[RecordChange]
    if wanted:
        changes = [ended(each) for each in await sessions_of(service, user.name) if each.id == wanted]
    else:
        changes = await all_ended(service, user.name, but=session.id)
    if changes:
        happening = Happening(
            "logout", f"{len(changes)} sessions ended at the account page", subject=user.name, address=request.address
        )
        await service.commit(*changes, happening=happening)
    return redirect("/account")


def shown_time(micros: int) -> str:
    """An instant as pages show it."""
    return instant_text(micros)[:16].replace("T", " ") + " UTC"
