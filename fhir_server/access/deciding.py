"""A request's Decision, made of what the caller's token stands for.

The steps stand in `decide`, one after the other, each making a Decision of the one before: what the token allows, then whatever narrows
it (a patient's consents) or widens it (an emergency). A new step is a line there.
"""

from fhir_server.access.decision import NOTHING, WHOLE, Decision
from fhir_server.access.following import Consents
from fhir_server.access.granting import PATIENT, decision_of
from fhir_server.access.judging import Judge
from fhir_server.access.own import Own, own_records
from fhir_server.access.purposes import BREAK_GLASS, asked_for, check_claim, usual
from fhir_server.messages import FhirRequest, Identity
from resources.store import ResourceStore

NOBODY = Decision(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, administers=False)
"""Nothing is allowed: no token came."""


class Deciding:
    """Decides for one server. `base_url`: all the URLs that mean it."""

    def __init__(self, store: ResourceStore, base_url: tuple[str, ...], judge: Judge) -> None:
        self._store, self._base_url = store, base_url
        self.judge = judge
        self._consents = Consents(store, base_url)

    async def decide(self, who: Identity, request: FhirRequest) -> Decision:
        """What the caller may do with documents in this request, or entry of a batch; notes in its trail what it is for.

        Raises FhirError 400 for a purpose of use that is none, 403 for one that is not the caller's; StoreUnavailable.
        """
        if who.anonymous:
            return NOBODY
        access, trail = who.access, request.trail
        trail.purpose, trail.reason = asked_for(request.headers)
        if access is None:
            return WHOLE
        check_claim(access.role, trail.purpose)
        own = await own_records(self._store, access.fhir_user) if access.role == PATIENT else Own()
        purpose = trail.purpose or usual(access.role)
        decision = decision_of(access, own.patients, self._base_url, purpose)
        if trail.purpose == BREAK_GLASS:
            return decision
        return await self._consents.narrowed(decision, access, purpose, own)
