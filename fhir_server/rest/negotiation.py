"""Which formats a caller sends and wants (https://hl7.org/fhir/R4/http.html#mime-type, https://hl7.org/fhir/R4/versioning.html).

The server speaks JSON. Whatever a caller names that can be nothing else is refused with a sentence that says so.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_plus

from resources.outcomes import FhirError, bad_request, error

FHIR_JSON = "application/fhir+json"

_JSON = frozenset(("application/fhir+json", "application/json", "text/json", "json", "application/json+fhir"))
_RANGES = frozenset(("*/*", "application/*", "*"))
_VERSIONS = frozenset(("4.0", "4.0.1"))
_UTF8 = frozenset(("", "utf-8", "utf8"))

_BODIES: dict[str, frozenset[str]] = {
    "fhir": _JSON,
    "patch": _JSON | {"application/json-patch+json"},
    "form": frozenset(("application/x-www-form-urlencoded",)),
}


@lru_cache(maxsize=1024)
def check_accept(accept: str) -> None:
    """Raises FhirError 406 if nothing in an Accept header can be JSON of FHIR R4; an empty header asks for nothing."""
    versions = []
    for media, parameters in _media(accept):
        if parameters.get("q", "1").strip("0.") == "" or not (media in _JSON or media in _RANGES):
            continue
        version = parameters.get("fhirversion", "4.0")
        if version in _VERSIONS:
            return
        versions.append(version)
    if versions:
        raise error(406, "not-supported", f"This server speaks FHIR R4 (fhirVersion=4.0), not fhirVersion={versions[0][:16]}")
    if accept.strip():
        raise error(406, "not-supported", f"This server answers in JSON only; ask for Accept: {FHIR_JSON} (not {accept[:80]})")


def only_other_formats(query: str, accept: str) -> bool:
    """Whether a caller says which formats it takes, and none of them is JSON of FHIR R4."""
    if not accept.strip() or "_format=" in query:
        return False
    try:
        check_accept(accept)
    except FhirError:
        return True
    return False


def accepts(accept: str, media: str) -> bool:
    """Whether an Accept header has a media type, named or by a range; its parameters do not matter."""
    kind = media.partition(";")[0].strip().lower()
    ranges = {kind, f"{kind.partition('/')[0]}/*", "*/*", "*"}
    return any(one in ranges and parameters.get("q", "1").strip("0.") for one, parameters in _media(accept))


def is_fhir(content_type: str) -> bool:
    """Whether a body of this Content-Type is a FHIR document, in a format that this server speaks or in another one."""
    media, _ = next(_media(content_type), ("", {}))
    return media in _JSON or "fhir+" in media


@lru_cache(maxsize=256)
def check_format(value: str) -> None:
    """Raises FhirError 406 if a `_format` parameter (undecoded) is not one of the names of JSON."""
    # A plus sign that the caller did not escape arrives as a space.
    media = unquote_plus(value).partition(";")[0].strip().lower().replace(" ", "+")
    if media not in _JSON:
        raise error(406, "not-supported", f"_format={media[:40]} is not offered; this server answers in JSON only (_format=json)")


def output(query: str, accept: str) -> bool:
    """Check what the caller wants of the answer; `_format` goes before Accept. True if `_pretty` asks for indented JSON."""
    pretty, format = False, ""
    if "_format" in query or "_pretty" in query:
        for pair in query.split("&"):
            name, _, value = pair.partition("=")
            if name == "_format":
                format = value
            elif name == "_pretty":
                pretty = _boolean(value)
    if format:
        check_format(format)
    elif accept:
        check_accept(accept)
    return pretty


def _boolean(value: str) -> bool:
    if value not in ("true", "false", ""):
        raise bad_request("_pretty must be true or false", code="value")
    return value != "false"


@lru_cache(maxsize=256)
def check_content(content_type: str, kind: Literal["fhir", "patch", "form"]) -> None:
    """Raises FhirError 415 if a body of this Content-Type is not one that the route (`kind`) takes."""
    media, parameters = next(_media(content_type), ("", {}))
    taken = _BODIES[kind]
    if media not in taken:
        offered = " or ".join(sorted(taken & {FHIR_JSON, "application/json-patch+json", "application/x-www-form-urlencoded"}))
        raise error(415, "not-supported", f"A body of type {media[:60] or 'unknown'} cannot be read; send Content-Type: {offered}")
    if parameters.get("charset", "").strip('"').lower() not in _UTF8:
        raise error(415, "not-supported", "FHIR is written in UTF-8; send the body in it, with charset=utf-8 or none")
    if parameters.get("fhirversion", "4.0") not in _VERSIONS:
        raise error(415, "not-supported", "This server speaks FHIR R4 (fhirVersion=4.0)")


def _media(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The media types of an Accept or Content-Type header with their parameters, names in lower case."""
    for part in header.split(","):
        media, *rest = part.split(";")
        if media.strip():
            pairs = (item.partition("=") for item in rest)
            yield media.strip().lower(), {name.strip().lower(): value.strip() for name, _, value in pairs}


@lru_cache(maxsize=512)
def best_encoding(accept_encoding: str) -> Literal["zstd", "gzip", ""]:
    """The content coding for an answer: the caller's favourite of zstd and gzip, "" for none (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for coding, parameters in _media(accept_encoding):
        try:
            weights[coding] = float(parameters.get("q", "1"))
        except ValueError:
            weights[coding] = 0.0
    zstd, gzip = (weights.get(name, weights.get("*", 0.0)) for name in ("zstd", "gzip"))
    if max(zstd, gzip) <= 0 or weights.get("identity", 0.0) > max(zstd, gzip):
        return ""
    return "zstd" if zstd >= gzip else "gzip"
