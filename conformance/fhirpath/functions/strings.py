"""String functions (http://hl7.org/fhirpath/N1/#string-manipulation and its later additions)."""

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from typing import Any, Final

from conformance.fhirpath.functions import regular
from conformance.fhirpath.functions.signature import Function
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.operators import MAX_TEXT, bounded_text
from conformance.fhirpath.values import Collection, Environment, single_integer, single_text

_STRING: Final = "System.String"
_CODED: Final = 64
"""Encoding goes from character to character."""
_JSON_ESCAPES: Final = re.compile(r'(?:\\u[0-9A-Fa-f]{4})+|\\["\\/bfnrt]')


def _text(name: str, apply: Callable[..., Any], strings: int = 0, result: str = _STRING, *, work: int = 1) -> Function:
    """A function of a string and of `strings` string arguments, empty if one of them is."""

    def run(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
        values = [single_text(c, f"{name}()") for c in (found, *arguments)]
        if any(v is None for v in values):
            return []
        made = apply(*values)
        return made if isinstance(made, list) else [made] if made is not None else []

    return Function(run, strings, strings, result, input="String", work=work)


def _substring(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    text = single_text(found, "substring()")
    start = single_integer(arguments[0], "substring()")
    if text is None or start is None or not 0 <= start < len(text):
        return []
    length = single_integer(arguments[1], "substring()") if len(arguments) > 1 else None
    return [text[start:] if length is None else text[start : start + max(length, 0)]]


def _replace(text: str, old: str, new: str) -> str:
    if len(new) * (text.count(old) + 1) > MAX_TEXT:
        raise FhirPathError(f"replace() would give more than {MAX_TEXT} characters")
    return text.replace(old, new)


def _split(text: str, separator: str) -> list[str]:
    return list(text) if not separator else text.split(separator)


def _join(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    separator = (single_text(arguments[0], "join()") if arguments else None) or ""
    parts = [single_text([v], "join()") or "" for v in found]
    # of nothing: the empty text, as two test cases of SQL on FHIR want it; FHIRPath's draft says that the result is empty then
    return [bounded_text(separator.join(parts))]


_ENCODERS: Final[dict[str, Callable[[str], str]]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "urlbase64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
}
_DECODERS: Final[dict[str, Callable[[str], str]]] = {
    "base64": lambda text: base64.b64decode(text, validate=True).decode(),
    "urlbase64": lambda text: base64.urlsafe_b64decode(text).decode(),
    "hex": lambda text: bytes.fromhex(text).decode(),
}
_ESCAPES: Final[dict[str, Callable[[str], str]]] = {
    "html": html.escape,
    "json": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
}
_UNESCAPES: Final[dict[str, Callable[[str], str]]] = {
    "html": html.unescape,
    "json": lambda text: _JSON_ESCAPES.sub(lambda m: str(json.loads(f'"{m[0]}"')), text),
}


def _by_name(table: dict[str, Callable[[str], str]]) -> Callable[[str, str], str | None]:
    def apply(text: str, name: str) -> str | None:
        convert = table.get(name)
        if convert is None:
            return None
        try:
            made = convert(text)
            return made if len(made) <= len(text) else bounded_text(made)
        except FhirPathError:
            raise
        except (binascii.Error, ValueError):
            raise FhirPathError(f"the text is not {name}") from None

    return apply


FUNCTIONS: Final[dict[str, Function]] = {
    "indexOf": _text("indexOf", str.find, 1, "System.Integer"),
    "lastIndexOf": _text("lastIndexOf", str.rfind, 1, "System.Integer"),
    "substring": Function(_substring, 1, 2, _STRING, input="String"),
    "startsWith": _text("startsWith", str.startswith, 1, "System.Boolean"),
    "endsWith": _text("endsWith", str.endswith, 1, "System.Boolean"),
    "contains": _text("contains", str.__contains__, 1, "System.Boolean"),
    "upper": _text("upper", str.upper),
    "lower": _text("lower", str.lower),
    "trim": _text("trim", str.strip),
    "length": _text("length", len, 0, "System.Integer"),
    "toChars": _text("toChars", list),
    "matches": _text("matches", lambda text, regex: regular.found(regex, text), 1, "System.Boolean"),
    "matchesFull": _text("matchesFull", lambda text, regex: regular.found_whole(regex, text), 1, "System.Boolean"),
    "replaceMatches": _text("replaceMatches", lambda text, regex, new: regular.replaced(text, regex, new, MAX_TEXT), 2),
    "replace": _text("replace", _replace, 2),
    "split": _text("split", _split, 1),
    "join": Function(_join, 0, 1, _STRING),
    "encode": _text("encode", _by_name(_ENCODERS), 1, work=_CODED),
    "decode": _text("decode", _by_name(_DECODERS), 1, work=_CODED),
    "escape": _text("escape", _by_name(_ESCAPES), 1, work=_CODED),
    "unescape": _text("unescape", _by_name(_UNESCAPES), 1, work=_CODED),
}
