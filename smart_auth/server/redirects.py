"""Where a browser may be sent: the redirect URIs that a client has registered, character for character (RFC 9700, 2.1)."""

import re

from smart_auth.clients import Client

_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(/[!-~]*)?", re.ASCII)


def registered(client: Client, redirect_uri: str) -> bool:
    """Whether the client may be answered there. An app on the user's machine (public) may choose the port of a loopback address anew each
    time (RFC 8252, 7.3)."""
    if redirect_uri in client.redirect_uris:
        return True
    asked = _without_port(redirect_uri)
    return client.type == "public" and asked is not None and any(_without_port(each) == asked for each in client.redirect_uris)


def _without_port(uri: str) -> tuple[str, str] | None:
    """A loopback URI but for its port, None for other URIs."""
    match = _LOOPBACK.fullmatch(uri)
    return (match[1], match[2] or "") if match is not None else None
