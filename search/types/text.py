"""The text of a search value: its separators and escapes (https://hl7.org/fhir/R4/search.html#escaping), and its prefix."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from search.query import Prefix
from search.values import Value

Converter = Callable[[Sequence[Any]], list[Value]]
"""JSON values of one FHIR type (none of them None) -> what is stored of them for search, in order."""

_PART = {mark: re.compile(rf"(?:[^\\{mark}]|\\.|\\$)*", re.DOTALL) for mark in ",|$"}
_ESCAPED = re.compile(r"\\([\\,|$])")
_PREFIX = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)(?=[-+.\d])", re.ASCII)
unescape = partial(_ESCAPED.sub, r"\1")
"""`a\\,b` -> `a,b`: the four escapes of FHIR; any other backslash stands for itself."""


Bases = tuple[str, ...]
"""The URLs that mean this server, each with its final slash."""


@lru_cache(maxsize=256)
def bases_of(base_url: str | tuple[str, ...]) -> Bases:
    """This server's own base URL, or all that mean it, each with or without a final slash, as Bases."""
    urls = (base_url,) if isinstance(base_url, str) else base_url
    return tuple(dict.fromkeys(f"{url.rstrip('/')}/" for url in urls))


class BadValue(ValueError):
    """A search value that cannot be read; the text is a sentence for the person who sent it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a value may need to know: the URLs that mean this server, the time in microseconds, and the base URL at which
    the request came in, with its final slash, where that is none of them ("": it is)."""

    bases: Bases
    now: int
    asked: str = ""


def split(text: str, mark: str) -> list[str]:
    """`text` at each `mark` (one of `,`, `|`, `$`) that no backslash escapes; the parts keep their escapes."""
    if mark not in text:
        return [text]
    if "\\" not in text:
        return text.split(mark)
    parts, start = [], 0
    while True:
        match = _PART[mark].match(text, start)
        end = match.end() if match else start
        parts.append(text[start:end])
        if end >= len(text):
            return parts
        start = end + 1


def blank(value: str) -> bool:
    """Whether a value says nothing: there is only white space, and commas between."""
    return not value.replace(",", " ").strip()


def prefixed(text: str) -> tuple[Prefix, str]:
    """`ge2026` -> (Prefix.GE, "2026"). Without a prefix: EQ."""
    match = _PREFIX.match(text)
    return (Prefix(match.group(1)), text[2:]) if match else (Prefix.EQ, text)
