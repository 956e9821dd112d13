"""Anything raised -> FhirError: the one place where failures become answers."""

import logging

from fhir_server.files.contract import FilesUnavailable
from resources.outcomes import FhirError, Issue, error
from resources.store import Conflict, StoreUnavailable
from search.index import Preparing, TooCostly

_log = logging.getLogger("fhir_server")

RETRY_AFTER = "5"
"""Seconds after which a client may try again when the store was not available."""


def as_fhir_error(failure: Exception, interaction: str, request_id: str) -> FhirError:
    """What the caller is told of `failure`. Whatever is not foreseen is 500 without internals, logged under the request's id."""
    if isinstance(failure, FhirError):
        return failure
    if isinstance(failure, Preparing):
        return error(503, "transient", str(failure), **{"Retry-After": RETRY_AFTER})
    if isinstance(failure, StoreUnavailable):
        _log.error("store unavailable: %s", failure, extra={"interaction": interaction, "request": request_id})
        status, code = (507, "no-store") if failure.full else (503, "transient")
        if failure.uncertain:  # no Retry-After and not `transient`: clients that repeat by themselves must not be invited to
            return FhirError(status, [Issue("error", "exception", str(failure))])
        return FhirError(status, [Issue("error", code, str(failure))], {"Retry-After": RETRY_AFTER})
    if isinstance(failure, FilesUnavailable):  # it has logged the reason where it knew more of it
        status, code = (507, "no-store") if failure.full else (503, "transient")
        return FhirError(status, [Issue("error", code, str(failure))], {"Retry-After": RETRY_AFTER})
    if isinstance(failure, TooCostly):
        return error(400, "too-costly", str(failure))
    if isinstance(failure, Conflict):
        return error(409, "conflict", "Somebody else wrote the same thing at the same time; repeat the request")
    _log.error("unexpected failure", exc_info=failure, extra={"interaction": interaction, "request": request_id})
    text = f"Something went wrong in the server. It is in the log as request {request_id}"
    return FhirError(500, [Issue("fatal", "exception", text)])
