"""Expressions of added search parameters that fail on a document: it has no value then, which is counted and logged, without content."""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from search.parameter import SearchParameter

log = logging.getLogger(__name__)


class Failures:
    """Counts the documents for which one parameter failed; logs the first of them, the tenth, the hundredth, and so on."""

    def __init__(self, parameter: str) -> None:
        self._parameter, self.count = parameter, 0
        self._next = 1

    def add(self, failure: Exception) -> None:
        """One more document."""
        self.count += 1
        if self.count == self._next:
            self._next *= 10
            extra = {"parameter": self._parameter, "failure": type(failure).__name__, "count": self.count}
            log.warning("an added search parameter gives no value for documents on which its expression fails", extra=extra)


@lru_cache(maxsize=1_024)
def failures_of(type: str, stored: str) -> Failures:
    """The one count that this process has for the parameter of a type."""
    return Failures(f"{type}.{stored}")


def forgiving(call: Callable[[Any], list[Any]], parameter: SearchParameter) -> Callable[[Any], list[Any]]:
    """The same for an added parameter, but that it gives nothing where it fails."""
    failures = failures_of(parameter.type, parameter.stored)

    def given(value: Any) -> list[Any]:
        try:
            return call(value)
        except Exception as failure:  # whatever a client's expression makes of a document, writing and searching go on
            failures.add(failure)
            return []

    return given
