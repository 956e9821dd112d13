"""Links to other pages: an index's cursor, sealed, so that nobody can make one up, use it with another search or read it.

A cursor holds the sort values of the last match, names and birth dates among them, and links end up in the logs of proxies: so it
is encrypted. AES-SIV needs no nonce, so that one page always has the same link.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from copy import copy
from hashlib import blake2b, sha512

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from resources.outcomes import FhirError, bad_request
from search.query import Parsed

_VERSION = b"\x04"
_LONGEST = 4096
_SHAPING = frozenset(
    (
        *("_count", "_total", "_summary", "_elements", "_format", "_pretty", "_include", "_revinclude"),
        *("_contained", "_containedType", "_explain"),
    )
)


def page_context(parsed: Parsed) -> bytes:
    """A hash of the type, the criteria as they were sent, and the sort: what a cursor belongs to. Page size and includes may change."""
    pairs = [pair for pair in parsed.applied if pair[0].partition(":")[0] not in _SHAPING]
    return blake2b(msgspec.json.encode([parsed.query.type, pairs]), digest_size=16).digest()


class Cursors:
    """Seals and opens cursors with one secret, the same on all servers that share a store.

    `index` names what the cursors are places in, an engine and its layout: another one cannot read them, and does not open them.
    """

    def __init__(self, secret: bytes, index: str = "") -> None:
        if not secret:
            raise ValueError("the secret for page links is empty")
        self._cipher = AESSIV(sha512(b"page links\x00%b\x00" % index.encode() + secret).digest())
        self._about: tuple[bytes, ...] = (_VERSION,)

    def of(self, mark: bytes) -> "Cursors":
        """The cursors of those who may see the same (`mark` tells who these are): nobody else can use them, or learn a total from them."""
        made = copy(self)
        made._about = (_VERSION, mark)
        return made

    def seal(self, cursor: tuple[object, ...], context: bytes) -> str:
        """A cursor of ints, floats, strings, booleans and None as URL-safe text that only opens with the same context."""
        sealed = self._cipher.encrypt(msgspec.json.encode(cursor), [*self._about, context])
        return urlsafe_b64encode(_VERSION + sealed).rstrip(b"=").decode("ascii")

    def open(self, text: str, context: bytes) -> tuple[object, ...]:
        """The cursor that was sealed. Raises FhirError 400 if the text was changed, cut, or belongs to another search."""
        if len(text) > _LONGEST:
            raise _unusable()
        try:
            sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            payload = self._cipher.decrypt(sealed.removeprefix(_VERSION), [*self._about, context])
        except (ValueError, InvalidTag) as wrong:
            raise _unusable() from wrong
        return tuple(msgspec.json.decode(payload, type=list[object]))


def _unusable() -> FhirError:
    text = (
        "This page link does not belong to this search, was changed, or is of another search index: start again from the first page"
    )
    return bad_request(text, "_cursor")
