"""The driver's errors as the store contract's: a sentence for a person, and whether a commit's fate is known."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from resources.store import StoreUnavailable
from resources.stores.mongo.driver import place, without_secrets

log = logging.getLogger(__name__)

_UNCERTAIN = (
    "so it is not certain whether this was written. "
    "Read before you send it again; with an Idempotency-Key sending it again is safe."
)
_NOT_PRIMARY = (10107, 13435, 13436, 189, 91, 11600, 11602)
_UNAUTHORISED = (13, 18, 8000, 11)
_FULL = (14031,)
_TIMED_OUT = (50, 262, 64, 89)
_WRITE_CONFLICT = 112


class Errors:
    """Makes sentences of the driver's errors, for the server that a URL names."""

    def __init__(self, url: str) -> None:
        self._url, self._place = url, place(url)

    @contextmanager
    def clear(self) -> Iterator[None]:
        """The driver's errors inside as StoreUnavailable."""
        try:
            yield
        except PyMongoError as problem:
            raise self.unavailable(problem) from None

    def unavailable(self, problem: PyMongoError, *, uncertain: bool = False) -> StoreUnavailable:
        """What to tell a person. `uncertain`: a commit was under way and nobody knows whether it was kept."""
        log.error(
            "MongoDB at %s: %s: %s", self._place, type(problem).__name__, _brief(without_secrets(_told(problem)[1], self._url))
        )
        what, full = self._what(problem)
        if uncertain:
            return StoreUnavailable(f"{what.split(';')[0].rstrip('.')}, {_UNCERTAIN}", full=full, uncertain=True)
        return StoreUnavailable(what, full=full)

    def _what(self, problem: PyMongoError) -> tuple[str, bool]:
        """The sentence, and whether the disk is full."""
        code, text = _told(problem)
        if code in _FULL or "No space left" in text:
            return "The disk of the database is full; nothing was written. Free some space and try again.", True
        if code in _UNAUTHORISED:
            return (
                f"MongoDB at {self._place} refuses this server's user; nothing was written. Check user, password and authSource in"
                " FHIR_STORE_URL; the user needs readWrite on the database."
            ), False
        if isinstance(problem, NotPrimaryError) or code in _NOT_PRIMARY:
            return f"MongoDB at {self._place} is choosing a new primary; send the request again in a moment.", False
        if isinstance(problem, WaitQueueTimeoutError) or code == _WRITE_CONFLICT:
            return "Too many requests are waiting for the database; send the request again in a moment.", False
        if isinstance(problem, NetworkTimeout | ExecutionTimeout) or code in _TIMED_OUT:
            return f"MongoDB at {self._place} did not answer in time; send the request again in a moment.", False
        if isinstance(problem, ServerSelectionTimeoutError | ConnectionFailure) and (
            "SSL" in str(problem) or "TLS" in str(problem)
        ):
            return (
                f"MongoDB at {self._place} cannot be reached with TLS; check tls, tlsCAFile and host name in FHIR_STORE_URL.",
                False,
            )
        if isinstance(problem, ServerSelectionTimeoutError) and "primary" in _brief(text).lower():
            return (
                f"MongoDB at {self._place} has no primary: an election is going on, or its replica set was never begun (rs.initiate()"
                " in mongosh). Send the request again in a moment."
            ), False
        if isinstance(problem, ServerSelectionTimeoutError | ConnectionFailure):
            return f"MongoDB at {self._place} cannot be reached; check that it runs. Send the request again in a moment.", False
        return f"MongoDB at {self._place} refused; nothing was written. The server's log has the reason.", False


def _told(problem: PyMongoError) -> tuple[int | None, str]:
    """Number and text of what the server said; of several writes sent together, of the first that failed."""
    if isinstance(problem, BulkWriteError) and problem.details and problem.details.get("writeErrors"):
        first = problem.details["writeErrors"][0]
        return first.get("code"), f"{first.get('code')} {str(first.get('errmsg', '')).partition('dup key')[0]}"
    return (problem.code if isinstance(problem, OperationFailure) else None), str(problem)


def _brief(text: str) -> str:
    """The beginning of an error's text: what follows are lists of servers, or documents, which belong in no log."""
    return text.partition(", full error:")[0].partition(", Timeout:")[0][:300]
