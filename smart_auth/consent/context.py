"""For whom an app is started: the patient and the visit, as far as the signed-in user may choose them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from resources.store import Conflict
from smart_auth.access import Access
from smart_auth.errors import OAuthError, invalid_request
from smart_auth.people.sessions import Session, signed_in
from smart_auth.roles import most
from smart_auth.scopes import ResourceScope, Scopes, parse_scopes, within
from smart_auth.server.asked_scopes import beyond
from smart_auth.server.authorizations import grantable
from smart_auth.server.pending import Pending, about_a_patient, changed, find_pending, seen
from smart_auth.service import Person, Service, Viewer
from smart_auth.users import User
from smart_auth.web import WebRequest, WebResponse, redirect

PAGE = "sign-in pages"
"""What audit calls the client through which a user chooses on our own pages."""

_SCOPES = "user/Patient.rs user/Encounter.rs"
_MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request of an app that waits for a user, with its revision, and the user who has signed in."""

    pending: Pending
    revision: int
    session: Session
    user: User
    address: str

    @property
    def grantable(self) -> Scopes:
        """What the user can grant: what the app asked for and may have, within the role's most."""
        return grantable(self.pending, self.user)

    @property
    def beyond_role(self) -> list[str]:
        """What the app asked for and may have, but the user's account cannot grant."""
        possible, here = self.pending.possible, self.grantable
        return [*(word for word in possible.words if word not in here.words), *beyond(possible.resources, most(self.user.role))]

    @property
    def lacks_patient(self) -> bool:
        """Whether a patient has to be chosen before the user can consent."""
        return not self.pending.patient and about_a_patient(self.grantable)

    @property
    def for_patients_only(self) -> bool:
        """Whether the user is a patient, or acts for patients, and so can choose among those only."""
        return self.user.role == "patient"


async def waiting(service: Service, request: WebRequest, id: str) -> Waiting | WebResponse:
    """What waits under this id for the signed-in user, or where the browser has to go to sign in (again).

    Raises OAuthError where nothing waits, or it waits for somebody else: whoever launched it, or whoever has chosen its patient.
    """
    pending, revision = await find_pending(service, id)
    found = await signed_in(service, request)
    if found is None or not pending.fresh(found[0]):
        return redirect(f"/oauth/sign-in?request={pending.id}")
    session, user = found
    if pending.for_user and pending.for_user != user.name:
        raise OAuthError(
            "access_denied", "This was started by somebody else who uses this browser: go back to the app and start again", 403
        )
    return Waiting(*await seen(service, pending, revision), session, user, request.address)


async def choose(service: Service, waits: Waiting, **chosen: Any) -> None:
    """Note what the user chose (`patient`, `encounter`, `scopes`); nobody else can go on with it then. Raises OAuthError where it was
    answered or changed meanwhile."""
    new = msgspec.structs.replace(waits.pending, for_user=waits.user.name, **chosen)
    try:
        await service.commit(changed(new, waits.revision))
    except Conflict:
        raise invalid_request("This was answered in another window: go back to the app and start again") from None


def viewer(service: Service, waits: Waiting) -> Viewer:
    """The user on the pages themselves: sees the patients and visits that the role, and whatever else is decided, allows."""
    return _viewer(service, waits.user, waits.address)


def _viewer(service: Service, user: User, address: str) -> Viewer:
    now = service.clock()
    access = Access(user.name, PAGE, _SCOPES, now + _MINUTE, now, user.role, fhir_user=user.fhir_user, user_name=user.shown)
    return Viewer(access, address)


async def own_patients(service: Service, user: User, address: str) -> Sequence[Person]:
    """The patients that such a user, who looks from this network address, is or acts for; none who keeps the record from the user. Raises
    StoreUnavailable."""
    known = await service.directory.stands_for(user.fhir_user) if user.fhir_user else ()
    shown = await service.directory.named([_id(one.reference) for one in known], _viewer(service, user, address))
    return [one for one in known if one in shown]


def may_look(user: User, type: str) -> bool:
    """Whether the role reaches documents of the type at all."""
    return within(parse_scopes(f"user/{type}.rs").resources, most(user.role))


async def reachable(service: Service, waits: Waiting, id: str) -> Person | None:
    """The patient with this id, or None where the user may not start apps for them. Raises StoreUnavailable."""
    return next(iter(await visible(service, waits.user, waits.address, [id])), None)


async def visible(service: Service, user: User, address: str, ids: Sequence[str]) -> Sequence[Person]:
    """The patients with these ids, those whom the user may see, who looks from this network address. Raises StoreUnavailable."""
    if user.role == "patient":
        return [one for one in await own_patients(service, user, address) if _id(one.reference) in ids]
    return await service.directory.named(ids, _viewer(service, user, address)) if may_look(user, "Patient") else ()


def _id(reference: str) -> str:
    return reference.removeprefix("Patient/")


class Whose:
    """Whose documents a scope is about: "" for the reader's own record, else words such as "of Anna Smith"."""

    def __init__(self, user: User, patient: Person | None) -> None:
        self._user, self._patient = user, patient

    def __call__(self, scope: ResourceScope) -> str:
        """Whose documents this scope is about."""
        if self._user.role == "patient":
            own = self._patient is None or self._patient.reference == self._user.fhir_user
            return "" if own or self._patient is None else f"of {self._patient.name}"
        if scope.level == "patient" and self._patient is not None:
            return f"of {self._patient.name}"
        return "of the patients you care for" if self._user.role == "practitioner" else "of all patients whom you may see"
