"""Which Host a request may name, and from which web sites scripts may send it, while nobody is asked to sign in.

A page of any web site can have a browser on this machine send requests to it: under the site's own name (DNS rebinding), or by a script of
the site's (CORS, and posts that browsers send without asking first). Without sign-in, only the names by which this machine calls itself are
therefore answered, and scripts of pages that come from there, or from sites that `FHIR_CORS_ORIGINS` names.
"""

from urllib.parse import urlsplit

from fhir_server.config import Settings
from resources.outcomes import error
from smart_auth.client_keys.jwks_uri import loopback

_MOST = 1_000


class Hosts:
    """The check for one server. With sign-in every Host and every site is answered: a token is asked for then."""

    def __init__(self, settings: Settings) -> None:
        self._open = settings.auth != "off"
        self._names = {settings.host.lower(), urlsplit(settings.base).hostname or ""} - {""}
        self._known: set[str] = {"", *(origin for origin in settings.origins if origin != "*")}

    def check(self, host: str, origin: str = "") -> None:
        """Raises FhirError 403 where `host` (the Host header, with or without port) is not this machine's own name, or `origin` (the Origin
        header) is neither a page from there nor a site that the settings name."""
        if self._open:
            return
        if not self._own(host, f"//{host}"):
            raise error(
                403,
                "forbidden",
                "Sign-in is off, so only requests to this machine's own names (localhost, 127.0.0.1) are answered; to be called by "
                "another name, set FHIR_BASE_URL to it",
            )
        if not self._own(origin, origin):
            raise error(
                403,
                "forbidden",
                "Sign-in is off, so scripts of other web sites are not answered; to let those of one in, name it in FHIR_CORS_ORIGINS",
            )

    def _own(self, said: str, url: str) -> bool:
        """Whether what a header said (`url`: as a URL) means this machine, or is known to be let in."""
        if said in self._known:
            return True
        try:
            name = urlsplit(url).hostname or ""
        except ValueError:
            return False
        own = loopback(name) or name.endswith(".localhost") or name in self._names
        if own and len(self._known) < _MOST:
            self._known.add(said)
        return own
