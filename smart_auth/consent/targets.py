"""Where the answer of a form may lead the browser: a page's Content-Security-Policy has to name it, for Chromium applies `form-action`
to redirects too (https://www.w3.org/TR/CSP3/#directive-form-action)."""

import re
from urllib.parse import urlsplit

from smart_auth.errors import OAuthError
from smart_auth.server.pending import Pending, load_pending
from smart_auth.service import Service

_HOST = re.compile(r"[A-Za-z0-9.\-_]{1,253}(:[0-9]{1,5})?", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]{0,99}", re.ASCII)


def form_targets(pending: Pending) -> tuple[str, ...]:
    """The origin of the app's redirect address as a source of the policy; its scheme where it has no host that a policy can name (an app
    on a telephone, an address of IPv6)."""
    parts = urlsplit(pending.redirect_uri)
    if parts.scheme in ("http", "https") and _HOST.fullmatch(parts.netloc):
        return (f"{parts.scheme}://{parts.netloc}",)
    return (f"{parts.scheme}:",) if _SCHEME.fullmatch(parts.scheme) else ()


async def targets_of(service: Service, id: str) -> tuple[str, ...]:
    """The same for the request that waits under this id; none where nothing does. Raises StoreUnavailable."""
    try:
        return form_targets(await load_pending(service, id)) if id else ()
    except OAuthError:
        return ()
