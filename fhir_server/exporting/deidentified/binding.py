"""Who gets de-identified exports alone (docs/adr/0026): everybody where FHIR_EXPORT_DEIDENTIFY says so, and clients that are registered so,
or are among FHIR_EXPORT_DEIDENTIFIED_CLIENTS, who get nothing else either. Asked of each request, and again of each part of a
job and each of its files: what was begun before it was so counts no more."""

from typing import Any

import msgspec

from fhir_server.config import Settings
from fhir_server.jobs.job import Job
from fhir_server.messages import Identity
from fhir_server.rest.routing import Route
from resources.outcomes import FhirError, error

FOR_ALL = frozenset(("capabilities", "$export", "$job"))
"""Rows of the REST table for clients that get nothing but de-identified exports."""

EXPORTS = frozenset(("$viewdefinition-export",))
"""Rows that export documents as they are."""


def bound(settings: Settings, who: Identity) -> bool:
    """Whether all exports of the caller are de-identified."""
    return settings.export_deidentify == "always" or _nothing_else(settings, who)


def _nothing_else(settings: Settings, who: Identity) -> bool:
    return (who.access is not None and who.access.deidentified) or settings.only_deidentified(who.client)


def check_row(settings: Settings, who: Identity, route: Route[Any]) -> None:
    """Raises FhirError 403 for what gives documents as they are to whoever gets none of these."""
    if _nothing_else(settings, who) and route.label not in FOR_ALL:
        raise _refused("This client gets de-identified exports, and nothing else: so it is registered")
    if settings.export_deidentify == "always" and route.label in EXPORTS:
        raise _refused("All exports of this server are de-identified (FHIR_EXPORT_DEIDENTIFY); views are of documents as they are")


class _Asked(msgspec.Struct):
    """Of what a job was asked for: how its documents are de-identified."""

    deidentified: str = ""


def check_job(settings: Settings, who: Identity, job: Job) -> None:
    """Raises FhirError 403 where a job was begun that its owner may not begin any more."""
    if bound(settings, who) and not msgspec.json.decode(job.asked, type=_Asked).deidentified:
        raise _refused("Exports of this client are de-identified by now; begin another one")


def _refused(text: str) -> FhirError:
    return error(403, "forbidden", text)
