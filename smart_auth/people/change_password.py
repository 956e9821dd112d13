"""Changing one's own password at the account page."""

from resources.store import Conflict
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.issuing.authorization import revoke_all
from smart_auth.people import delays, mail, passwords
from smart_auth.people.account import account_page
from smart_auth.people.reset import links_ended
from smart_auth.people.sessions import all_ended, required
from smart_auth.people.sessions import kept as kept_session
from smart_auth.people.storing import stored_over
from smart_auth.service import Service
from smart_auth.users import User, kept
from smart_auth.web import WebRequest, WebResponse, redirect


async def change(service: Service, request: WebRequest) -> WebResponse:
    """POST /account/password: `current`, `password`, and `apps` to end what apps may do as well. Ends all other sessions."""
    session, user = await required(service, request)
    form = request.single()
    tried = await delays.attempt(service, request, "password", user.name)
    if not await passwords.verified(service.settings, user.password, form.get("current", "")):
        text = "change of the password refused: wrong current password"
        await service.commit(happening=Happening("login", text, "4", user.name, address=request.address))
        return await account_page(service, request, session, user, problem="The current password is wrong.")
    await delays.forgive(service, request, tried)
    new = form.get("password", "")
    refused = passwords.problem(service.settings, new, user.name, user.email)
    if refused is not None:
        await service.commit(*tried.cleared)
        return await account_page(service, request, session, user, problem=refused)
    password = await passwords.hashed(service.settings, new)
    happening = Happening("credentials", "password changed", subject=user.name, address=request.address)

    async def commit(stored: User) -> None:
        now = service.clock()
        mine = kept_session(service, session.having(spared=now))
        others = (*await all_ended(service, user.name, but=session.id), *await links_ended(service, user.name))
        changed = stored.having(password=password, sessions_from=now)
        await service.commit(kept(changed), mine, *others, *tried.cleared, happening=happening)

    try:
        await stored_over(service, user, commit)
    except Conflict:
        await service.commit(*tried.cleared)  # the password was right: it is no failed try
        raise OAuthError("conflict", "Your account was changed at the same moment. Load the page again.", 409) from None
    mail.tell(service.settings, user, "Your password was changed.")
    if form.get("apps"):
        await revoke_all(service, user=user.name, by=user.name, why="its user changed the password")
    return redirect("/account?done=password")
