"""Where a client may have users sent: compared letter by letter later, so only what is plain is registered (RFC 8252, RFC 9700)."""

import re
from urllib.parse import SplitResult, urlsplit

from smart_auth.client_keys.jwks_uri import loopback

LONGEST = 2_000
_PLAIN = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()+,;=%\[\]]+", re.ASCII)
"""The characters of a URI (RFC 3986) without `*`, which some mean as a wildcard, and `#`."""


def check_redirect_uri(uri: str) -> None:
    """Whether codes may be sent there: https; http on this machine (`http://127.0.0.1:…`, `[::1]`, `localhost`); or a scheme of an app's
    own that has a dot (`org.example.app:/callback`). Raises ValueError with a sentence."""
    parts = _read(uri, "redirect_uri")
    if parts.scheme == "https" or (parts.scheme == "http" and loopback(parts.hostname or "")):
        return
    if "." in parts.scheme:
        return
    raise ValueError(
        "a redirect_uri begins with https://, http:// on this machine, or a scheme with a dot such as org.example.app:/"
    )


def check_launch_uri(uri: str) -> None:
    """Whether an EHR may start an app there: https, or http on this machine. Raises ValueError with a sentence."""
    parts = _read(uri, "launch URI")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback(parts.hostname or "")):
        raise ValueError("a launch URI begins with https://, or http:// on this machine")


def _read(uri: str, name: str) -> SplitResult:
    if not 0 < len(uri) <= LONGEST or not _PLAIN.fullmatch(uri):
        raise ValueError(f"the {name} must be an absolute URI of at most {LONGEST} characters, without fragment and wildcards")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise ValueError(f"the {name} is no URI") from None
    if parts.scheme in ("http", "https") and (not parts.hostname or port == 0):
        raise ValueError(f"the {name} names no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the {name} must not have a user name or password in it")
    if not parts.scheme:
        raise ValueError(f"the {name} must be absolute")
    return parts
