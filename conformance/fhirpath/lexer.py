"""Text of a FHIRPath expression -> tokens."""

import re
from typing import NamedTuple

from conformance.fhirpath.nodes import FhirPathError

MAX_LENGTH = 4_096
"""Longest expression read, in characters; the longest search parameter of R4 has a third of that."""

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|//[^\r\n]*|/\*.*?\*/)
  | (?P<datetime>@\d{4}(?:-\d\d(?:-\d\d)?)?(?:T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?)?)?)
  | (?P<time>@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<string>'(?:[^'\\]|\\.)*')
  | (?P<variable>%(?:[A-Za-z_][A-Za-z0-9_-]*|`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'))
  | (?P<scope>\$(?:this|index|total)\b)
  | (?P<quoted>`(?:[^`\\]|\\.)*`)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol><=|>=|!=|!~|[-<>=~+*/&|()\[\]{}.,])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPES = {"f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Token(NamedTuple):
    """`kind`: datetime, time, number, string, variable, scope, quoted, name, symbol, end; `text` without quotes and escapes."""

    kind: str
    text: str
    at: int


def tokens(expression: str) -> list[Token]:
    """All tokens, the last of kind `end`. Raises FhirPathError at the first character that begins none."""
    if len(expression) > MAX_LENGTH:
        raise FhirPathError(f"the expression is longer than {MAX_LENGTH} characters", MAX_LENGTH)
    found: list[Token] = []
    at, end = 0, len(expression)
    while at < end:
        match = _TOKEN.match(expression, at)
        if match is None:
            raise FhirPathError(_complaint(expression, at), at)
        kind, text = str(match.lastgroup), match.group()
        if kind == "symbol" and text == "/" and expression.startswith("/*", at):
            raise FhirPathError("the comment is not closed", at)
        if kind != "skip":
            found.append(Token(kind, _plain(kind, text), at))
        at = match.end()
    found.append(Token("end", "", end))
    return found


def _complaint(expression: str, at: int) -> str:
    character = expression[at]
    if character in "'`":
        return "the text that begins here is not closed"
    if character == "@":
        return "this is no date or time"
    return f"unexpected character {character!r}"


def _plain(kind: str, text: str) -> str:
    if kind in ("string", "quoted"):
        return _unescape(text[1:-1])
    if kind == "variable":
        return _unescape(text[2:-1]) if text[1] in "`'" else text[1:]
    return text


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _ESCAPES.get(m[1], m[1]), text)
