"""Regular expressions by RE2: their time grows with the text and never beyond, whatever they are (https://github.com/google/re2/wiki/Syntax).

So there are no look-arounds and no references back. `.` matches line ends too.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import re2

from conformance.fhirpath.budget import BUDGET, spend
from conformance.fhirpath.nodes import FhirPathError

_KEPT: Final = 128
"""Compiled expressions that are kept."""
_MOST_MEMORY: Final = 1 << 20
"""Bytes that one of them may take."""
_GROUP: Final = re.compile(r"\$(?:(\d{1,4})|\{(\w+)\})")
"""`$1` or `${name}`."""


@lru_cache(maxsize=_KEPT)
def _compiled(regex: str) -> Any:
    options = re2.Options()
    options.dot_nl, options.log_errors, options.max_mem = True, False, _MOST_MEMORY
    try:
        return re2.compile(regex, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        raise _Wrong(reason) from None


class _Wrong(FhirPathError):
    """No regular expression, or no substitute for it, and why. The text must not go on where these may be made of what a document holds."""


def check(regex: str, substitute: str = "") -> None:
    """Raises FhirPathError for what is no regular expression, or one that needs too much memory, and for a substitute whose groups it has
    not; with the texts, which must stand in the path itself."""
    try:
        pattern = _compiled(regex)
    except _Wrong as wrong:
        raise FhirPathError(f"the regular expression {regex[:200]!r} is wrong: {wrong}") from None
    try:
        list(_template(substitute, pattern))
    except _Wrong as wrong:
        raise FhirPathError(f"the substitute {substitute[:200]!r} is wrong: {wrong}") from None


def found(regex: str, text: str) -> bool:
    """Does it match some part of the text? Raises FhirPathError."""
    pattern = _counted(regex, text)
    try:
        return pattern.search(text) is not None
    except UnicodeEncodeError:
        raise _no_text() from None


def found_whole(regex: str, text: str) -> bool:
    """Does it match the text from its beginning to its end? Raises FhirPathError."""
    pattern = _counted(regex, text)
    try:
        return pattern.fullmatch(text) is not None
    except UnicodeEncodeError:
        raise _no_text() from None


def replaced(text: str, regex: str, substitute: str, most: int) -> str:
    """The text with each match replaced; `$1` and `${name}` in the substitute are groups. Raises FhirPathError, also where more than `most`
    characters would come out."""
    if not regex:
        return text
    pattern = _counted(regex, text)
    try:
        template = list(_template(substitute, pattern))
    except _Wrong:
        raise FhirPathError("the substitute of replaceMatches() names a group that there is not") from None
    try:
        return "".join(_pieces(text, pattern, template, most))
    except UnicodeEncodeError:
        raise _no_text() from None


def _pieces(text: str, pattern: Any, template: list[str | tuple[int]], most: int) -> Iterator[str]:
    length, end, steps = 0, 0, pattern.programsize
    for match in pattern.finditer(text):
        spend(16 + (len(text) - end) * steps // 200)
        yield text[end : match.start()]
        made = "".join([part if isinstance(part, str) else match[part[0]] or "" for part in template])
        length += match.start() - end + len(made)
        if length > most:
            raise FhirPathError(f"replaceMatches() would give more than {most} characters")
        yield made
        end = match.end()
    yield text[end:]


def _no_text() -> FhirPathError:
    return FhirPathError("a text with half a surrogate pair cannot be matched")


def _counted(regex: str, text: str) -> Any:
    """The compiled expression, its work on the text counted."""
    try:
        pattern, budget = _compiled(regex), BUDGET.get()
    except _Wrong:
        raise FhirPathError("a regular expression is wrong") from None
    if budget is not None:
        budget.spend(16 + pattern.programsize * (len(text) + 8) // 64)
    return pattern


def _template(substitute: str, pattern: Any) -> Iterator[str | tuple[int]]:
    """The substitute's texts, and between them the numbers of groups. Raises _Wrong."""
    at = 0
    for match in _GROUP.finditer(substitute):
        group = int(match[1]) if match[1] else pattern.groupindex.get(match[2], int(match[2]) if match[2].isdecimal() else -1)
        if not 0 <= group <= pattern.groups:
            raise _Wrong(f"there is no group {match[0]}")
        yield substitute[at : match.start()]
        yield (group,)
        at = match.end()
    yield substitute[at:]
