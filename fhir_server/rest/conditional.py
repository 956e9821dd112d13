"""Conditional request headers (https://hl7.org/fhir/R4/http.html#concurrency, #cread) and their values' text."""

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

from resources.outcomes import bad_request

_ETAG = re.compile(r'\s*(?:(?:W/)?"([0-9]{1,18})"|([0-9]{1,18}))\s*', re.ASCII)


def etag(version: int) -> str:
    """The ETag of a version: W/"3"."""
    return f'W/"{version}"'


@lru_cache(maxsize=8192)
def http_date(seconds: int) -> str:
    """Seconds since the epoch as an HTTP date."""
    return formatdate(seconds, usegmt=True)


def if_match(headers: Mapping[str, str]) -> int | None:
    """The version number that If-Match names; None if there is no such header or it is `*`. Raises FhirError 400."""
    value = headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    found = _ETAG.fullmatch(value)
    if found is None:
        raise bad_request('If-Match must be the ETag of one version, such as W/"3"', code="value")
    return int(found[1] or found[2])


def not_modified(headers: Mapping[str, str], version: int, instant: int) -> bool:
    """Whether the caller has this version already: If-None-Match names it, or it is not newer than If-Modified-Since.

    `instant` is in microseconds. If-Modified-Since counts only without If-None-Match, and not if it is no date (RFC 9110, 13.1.3).
    """
    known = headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or any(_names(part, version) for part in known.split(","))
    since = headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return instant // 1_000_000 <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError):
        return False


def _names(text: str, version: int) -> bool:
    found = _ETAG.fullmatch(text)
    return found is not None and int(found[1] or found[2]) == version
