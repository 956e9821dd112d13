"""What is recorded of a run of a view: which view, asked for how, and of which patients its rows tell."""

from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from urllib.parse import urlencode

from fhir_server.audit import Audit
from fhir_server.auditing.patients import patients_of
from fhir_server.context import Context
from fhir_server.messages import FhirRequest, Identity
from fhir_server.views.asked import Asked
from fhir_server.views.compiler import View
from resources.store import ResourceStore

LONGEST_TOLD = 4_096
"""Bytes of a ViewDefinition that was sent along that the record repeats."""

_REMEMBERED = 100_000
"""Patients of whom it is remembered that they have been named: beyond that some may be named twice."""


class Record:
    """AuditEvents of one run. `of` notes a document that gave rows, `keep` must come before these leave. `request` says which views of what
    are run, `touched` are the references that the first event names; `bases` are the URLs that mean this server."""

    def __init__(
        self,
        store: ResourceStore,
        audit: Audit,
        clock: Callable[[], int],
        bases: Collection[str],
        who: Identity,
        request: FhirRequest,
        touched: Sequence[str],
    ) -> None:
        self._store, self._audit, self._clock, self._bases = store, audit, clock, bases
        self._who, self._request, self._touched = who, request, touched
        self._begun = False
        self._waiting: dict[str, None] = {}
        self._named = {name.removeprefix("Patient/") for name in touched if name.startswith("Patient/")}

    def of(self, type: str, id: str, body: bytes) -> None:
        """Rows are made of this document of the store."""
        found = patients_of((body,), self._bases)
        for patient in [id, *found] if type == "Patient" else found:
            if patient not in self._named:
                self._waiting[patient] = None

    async def keep(self) -> None:
        """Commit what is not recorded yet; the first time that there was a run at all."""
        if self._begun and not self._waiting:
            return
        touched: Sequence[str] = [*([] if self._begun else self._touched), *(f"Patient/{id}" for id in self._waiting)]
        events = self._audit.success(self._clock(), self._who, self._request, "operation", touched)
        await self._store.commit((), events=events)
        self._begun = True
        if len(self._named) > _REMEMBERED:
            self._named.clear()
        self._named.update(self._waiting)
        self._waiting = {}


def record_of(ctx: Context, who: Identity, request: FhirRequest, view: View, asked: Asked, stored: str) -> Record:
    """What is recorded of a `$run`; `stored` is the reference to the view, if it is stored."""
    named = stored or view.definition.url or view.name
    pairs = [*([("view", named)] if named else []), *_told(asked), ("resource-type", view.resource), *asked.told]
    touched = [*([stored] if stored else []), *(f"Patient/{id}" for id in asked.patients), *(f"Group/{id}" for id in asked.groups)]
    request = request.having(query=urlencode(pairs))
    return Record(ctx.store, ctx.audit, ctx.clock, ctx.settings.bases, who, request, touched)


def _told(asked: Asked) -> list[tuple[str, str]]:
    """A ViewDefinition that was sent along: its hash, and its text where that is not too long."""
    if asked.sent is None:
        return []
    told = [("viewResource-sha256", sha256(asked.sent).hexdigest())]
    return [*told, ("viewResource", asked.sent.decode("utf-8", "replace"))] if len(asked.sent) <= LONGEST_TOLD else told
