"""How long a source is waited for. One that gives next to nothing is given up though it never falls silent; one that does not give at all,
or breaks off, is asked again some times, and what it said is told in the end."""

import time
from dataclasses import dataclass, field

import httpx

LEAST = 1_000
"""Bytes a second that a source must give, on average over a window."""

WINDOW = 5.0
"""Seconds of waiting for it that are looked at together."""

SLOW = 60.0
"""Seconds of waiting in a row, in whole windows, in which it may give less."""


ATTEMPTS, PAUSE, LONGEST_PAUSE = 6, 1.0, 30.0
"""Times that an input is asked for without a line having come (one in which it fell silent counts for two), and seconds before the second
time. Each pause is twice the one before, or what the source asks for, up to a limit."""


@dataclass(slots=True)
class Pace:
    """Counts while a source is waited for, not while what it gave is worked on. `slow`: seconds in a row in which it gave too little."""

    slow: float = 0.0
    _since: float = field(default_factory=time.monotonic)
    _waited: float = 0.0
    _size: int = 0

    def waits(self) -> None:
        """From now on it is waited for."""
        self._since = time.monotonic()

    def gave(self, size: int) -> None:
        """It gave so many bytes, packed as they came."""
        self._waited += time.monotonic() - self._since
        self._size += size
        if self._waited >= WINDOW:
            self.slow = self.slow + self._waited if self._size < LEAST * self._waited else 0.0
            self._waited, self._size = 0.0, 0

    def too_slow(self) -> bool:
        """Whether to give it up."""
        return self.slow >= SLOW


class CutOff(Exception):
    """The input ended, or was refused, before its end: it may be asked for again, after so many seconds at least."""

    def __init__(self, why: str, after: str = "") -> None:
        super().__init__(why)
        self.after = float(after) if after.isdecimal() and len(after) <= 9 else 0.0


def pause(problem: Exception, tried: int) -> float:
    """Seconds after which an input is asked for again."""
    doubled = PAUSE * float(2 ** (tried - 1))
    return min(max(doubled, problem.after if isinstance(problem, CutOff) else 0.0), LONGEST_PAUSE)


def counted(problem: Exception) -> int:
    """For how many times one counts that failed so."""
    return 2 if isinstance(problem, httpx.TimeoutException) else 1


def why(problem: Exception) -> str:
    """What kept an input from being read, for people."""
    if isinstance(problem, CutOff):
        return str(problem)
    if isinstance(problem, httpx.TimeoutException):
        return "it fell silent"
    _, untrusted, reason = str(problem).partition("CERTIFICATE_VERIFY_FAILED] certificate verify failed: ")
    if untrusted:
        return f"its certificate is not trusted (FHIR_IMPORT_CA_FILE): {reason.partition(' (_ssl')[0]}"
    return "it cannot be connected to" if isinstance(problem, httpx.ConnectError | OSError) else "the connection ended"
