"""The words of a document: what `_text` and `_content` look into (https://hl7.org/fhir/R4/search.html#text, #content).

Words are runs of letters and digits, folded as strings are (`search.values.fold`), so that every index finds the same.
"""

import re
from html import unescape
from typing import Any

from search.values import DocumentText, fold

LONGEST_WORD = 64
"""Characters of a word; longer runs are hashes and encoded data, which nobody looks for by words."""


def words_of(text: str) -> list[str]:
    """The words of a text, folded; runs longer than LONGEST_WORD are none."""
    folded = fold.__wrapped__(text)
    spaced = folded if folded.isalnum() else "".join(c if c.isalnum() else " " for c in folded)
    return [word for word in spaced.split() if len(word) <= LONGEST_WORD]


_SILENT = frozenset(
    ("resourceType", "id", "meta", "implicitRules", "language", "system", "url", "reference", "data", "contentType", "versionId")
)
"""Members that hold addresses, codes of the format, or encoded data: what nobody means by the content."""

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE = re.compile(r"</?(?:a|abbr|b|big|code|em|font|i|q|small|span|strong|sub|sup|tt|u|var)(?:\s[^>]*)?/?>")
_TAG = re.compile(r"<[^>]*>")


def text_of(document: dict[str, Any]) -> DocumentText:
    """The text of a document: that of `text.div` without its tags, and every other string but addresses and encoded data."""
    narrative = document.get("text")
    div = narrative.get("div", "") if isinstance(narrative, dict) else ""
    rest: list[str] = []
    for name, value in document.items():
        if name != "text" and name not in _SILENT:
            _gather(value, rest)
    return DocumentText(" ".join(words_of(_plain(div))) if div else "", " ".join(rest))


def _plain(div: str) -> str:
    return unescape(_TAG.sub(" ", _INLINE.sub("", _COMMENT.sub("", div))))


def _gather(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found += words_of(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name == "div":
                found += words_of(_plain(inner))
            elif name not in _SILENT:
                _gather(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _gather(inner, found)
