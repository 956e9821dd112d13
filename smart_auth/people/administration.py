"""What an administrator does with users (`fhir-server user`). Everything leaves an AuditEvent."""

from resources.store import Conflict
from smart_auth.happenings import Happening
from smart_auth.issuing.authorization import revoke_all
from smart_auth.openid.subjects import forgotten_subject
from smart_auth.people import passwords
from smart_auth.people.delays import unlocked
from smart_auth.people.reset import BY_HAND_MINUTES, links_ended, make_link
from smart_auth.people.sessions import all_ended
from smart_auth.people.storing import stored_over
from smart_auth.roles import ROLES
from smart_auth.service import Service
from smart_auth.users import EMAIL, FHIR_USER, User, email_tag, find_user, find_users, forgotten, kept, normalised


class Refused(Exception):
    """Something that cannot be done. The text is a sentence that says why, and what to do."""


async def add(service: Service, user: User, password: str, by: str) -> User:
    """A new user with a password ("": none yet; a reset sets one). Raises Refused."""
    name = normalised(user.name)
    if not name:
        raise Refused("a user name has 1 to 100 visible characters")
    await _check(service, user)
    hashed = await _hashed(service, password, name, user.email) if password else ""
    user = user.having(name=name, password=hashed, sessions_from=service.clock())  # none of an earlier user of this name
    try:
        await service.commit(kept(user), happening=_happened(f"user added with the role {user.role}", user, by))
    except Conflict:
        raise Refused(f"there is a user {name} already; `fhir-server user list` shows them") from None
    return user


async def get(service: Service, name: str) -> User:
    """The user of this name. Raises Refused."""
    user = await find_user(service.store, name)
    if user is None:
        raise Refused(f"there is no user {name}; `fhir-server user list` shows them")
    return user


async def remove(service: Service, name: str, by: str) -> None:
    """Remove the user, end all sessions and the access of all apps. Raises Refused."""
    user = await get(service, name)
    await _done(service, user, None, "user removed", by, revoked="the user was removed")


async def disable(service: Service, name: str, by: str, *, disabled: bool = True) -> None:
    """Keep the user from signing in, end all sessions and the access of all apps; or let the user sign in again. Raises Refused."""
    user = await get(service, name)
    text, revoked = ("user disabled", "the user was disabled") if disabled else ("user enabled", "")
    await _done(service, user, user.having(disabled=disabled), text, by, revoked=revoked)


async def change(service: Service, name: str, by: str, **changes: str) -> User:
    """Give the user another `role`, `fhir_user`, `email` or `display`. Ends all sessions, and with another role or person the access of all
    apps too. Raises Refused."""
    user = await get(service, name)
    changed = user.having(**changes)
    await _check(service, changed)
    other = (changed.role, changed.fhir_user) != (user.role, user.fhir_user)
    revoked = "the user's role or person was changed" if other else ""
    await _done(service, user, changed, f"user changed: {', '.join(sorted(changes))}", by, revoked=revoked)
    return changed


async def set_password(service: Service, name: str, password: str, by: str) -> None:
    """Give the user a new password and end all sessions. Raises Refused."""
    user = await get(service, name)
    changed = user.having(password=await _hashed(service, password, user.name, user.email))
    await _done(service, user, changed, "password set", by)


async def reset_link(service: Service, name: str, by: str) -> str:
    """A link by which the user sets a new password, good once and for a day; all sessions end. Raises Refused."""
    user = await get(service, name)
    await _done(service, user, user, "password reset begun", by)
    about = (f"user/{user.name}",)
    return await make_link(service, user, BY_HAND_MINUTES, Happening("user", "password reset link made", subject=by, about=about))


async def remove_second_factors(service: Service, name: str, by: str) -> None:
    """Forget one-time passwords, passkeys and recovery codes, for whoever has lost them, and end all sessions. Raises Refused."""
    user = await get(service, name)
    changed = user.having(totp="", totp_last=0, recovery=(), passkeys=())
    await _done(service, user, changed, "second factors removed", by)


async def require_second_factor(service: Service, name: str, by: str) -> None:
    """Have the user set up a second factor at the next sign-in, whatever the role. Raises Refused."""
    user = await get(service, name)
    await _done(service, user, user.having(second_factor_required=True), "second factor required", by)


async def _done(service: Service, user: User, changed: User | None, text: str, by: str, revoked: str = "") -> None:
    """Store the change, and end what was begun with the state before it; where `revoked` says why, the access of apps too: first of all,
    so that whoever is interrupted finds the change still to be made, and again for what was allowed meanwhile."""
    if revoked:
        await revoke_all(service, user=user.name, by=by, why=revoked)

    async def commit(stored: User) -> None:
        if changed is not None:
            records = [kept(changed.over(stored).having(sessions_from=service.clock()))]
        else:
            records = [forgotten(stored), forgotten_subject(user.name)]
        begun = (*await all_ended(service, user.name), *await links_ended(service, user.name), *unlocked(user.name))
        await service.commit(*records, *begun, happening=_happened(text, user, by))

    try:
        await stored_over(service, user, commit)
    except Conflict:
        raise Refused(f"{user.name} was changed by somebody else at this moment; try again") from None
    if revoked:
        await revoke_all(service, user=user.name, by=by, why=revoked)


async def _check(service: Service, user: User) -> None:
    if user.role not in ROLES:
        raise Refused(f"{user.role} is no role; roles are {', '.join(ROLES)}")
    if user.email and not EMAIL.fullmatch(user.email):
        raise Refused("the e-mail address does not look like one")
    same = await find_users(service.store, tag=email_tag(user.email), limit=2) if user.email else []
    if any(each.name != normalised(user.name) for each in same):
        raise Refused("another user has this e-mail address; each user needs one of their own")
    if not user.fhir_user:
        if user.role == "patient":
            raise Refused("a user with the role patient stands for somebody's record; name it with --fhir-user Patient/ID")
        return
    if not FHIR_USER.fullmatch(user.fhir_user):
        raise Refused("fhirUser is a reference such as Patient/1, Practitioner/1, RelatedPerson/1 or Person/1")
    if await service.directory.person(user.fhir_user) is None:
        raise Refused(f"there is no {user.fhir_user} on this server; add it first")


async def _hashed(service: Service, password: str, *names: str) -> str:
    refused = passwords.problem(service.settings, password, *names)
    if refused is not None:
        raise Refused(refused)
    return await passwords.hashed(service.settings, password)


def _happened(text: str, user: User, by: str) -> Happening:
    about = (f"user/{user.name}", *((user.fhir_user,) if user.fhir_user else ()))
    return Happening("user", text, subject=by, about=about)
