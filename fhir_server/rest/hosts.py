"""Which Host a request may name while nobody is asked to sign in.

A page of any web site can have a browser on this machine send requests to it under the site's own name (DNS rebinding). Without
sign-in, only the names by which this machine calls itself are therefore answered.
"""

from urllib.parse import urlsplit

from fhir_server.config import Settings, is_loopback
from resources.outcomes import error

_MOST = 1_000


class Hosts:
    """The check for one server. With sign-in every Host is answered: a token is asked for then."""

    def __init__(self, settings: Settings) -> None:
        self._open = settings.auth != "off"
        self._names = {settings.host.lower(), urlsplit(settings.base).hostname or ""}
        self._known: set[str] = {""}

    def check(self, host: str) -> None:
        """Raises FhirError 403 where `host` (the Host header, with or without port) is not this machine's own name."""
        if self._open or host in self._known:
            return
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = host
        if not (is_loopback(name) or name.endswith(".localhost") or name in self._names):
            raise error(
                403,
                "forbidden",
                "Sign-in is off, so only requests to this machine's own names (localhost, 127.0.0.1) are answered; to be called by "
                "another name, set FHIR_BASE_URL to it",
            )
        if len(self._known) < _MOST:
            self._known.add(host)
