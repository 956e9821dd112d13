"""How requests to the server that is migrated from are repeated: people are told meanwhile, and what helped nothing is told in words."""

from collections.abc import Callable
from typing import Any, Self

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)
from urllib3.util import Retry

_FOR_GOOD = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What TLS says that it says again: the certificate is not trusted, or what answers does not speak TLS."""

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (NameResolutionError, "its name cannot be resolved"),
    (NewConnectionError, "it cannot be connected to"),
    (ConnectTimeoutError, "it cannot be connected to in time"),
    (ReadTimeoutError, "it falls silent"),
)

Say = Callable[[str], None]


class Patience(Retry):
    """urllib3's patience, which says what it waits for."""

    say: Say = staticmethod(lambda text: None)

    def saying(self, say: Say) -> Self:
        """The same, with somebody to say it to."""
        self.say = say
        return self

    def new(self, **kw: Any) -> Self:
        """What is left of it after a try."""
        return super().new(**kw).saying(self.say)

    def increment(self, *given: Any, **named: Any) -> Self:
        """One try less. Raises MaxRetryError where none is left, or none would help."""
        error, response = named.get("error"), named.get("response")
        if isinstance(error, SSLError) and any(word in str(error) for word in _FOR_GOOD):
            raise MaxRetryError(named["_pool"], "", error) from error
        left = super().increment(*given, **named)
        what = f"answers {response.status}" if response is not None else f"does not answer: {reason(error)}"
        self.say(f"the server {what}; it is asked again, {int(left.total or 0) + 1} times more at most")
        return left


def reason(failure: BaseException | None) -> str:
    """Why a request came to nothing, for people."""
    cause = getattr(failure, "reason", None) or failure
    if isinstance(cause, SSLError):
        return f"TLS fails ({str(cause).partition('] ')[2].partition(' (_ssl')[0]})"
    if isinstance(cause, ResponseError):
        return str(cause)
    told = next((words for kind, words in _WORDS if isinstance(cause, kind)), "")
    return told or (f"the connection broke ({type(cause).__name__})" if isinstance(cause, HTTPError) else type(cause).__name__)
