"""Requests to the server that is migrated from: tried again with patience, never beyond what the operator named, never without bounds.

urllib3 repeats a request that a connection did not bear, or that is answered with 429 or 503, after as long as Retry-After says
(RFC 9110, 10.2.3), else after pauses that double.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Timeout

from fhir_server.migrating.contract import Stopped
from fhir_server.migrating.remote.patience import Patience, Say, reason
from smart_auth.client_keys.jwks_uri import loopback

FHIR_JSON = "application/fhir+json"
MOST_PAGE = 256_000_000
"""Bytes of one answer that is read as a whole."""

TIMES, PAUSE, LONGEST_PAUSE, LONGEST_ASKED = 8, 0.5, 60.0, 900
"""How often a request is repeated; seconds before the second time, at most between two, and at most of what Retry-After may ask for."""

HOPS = 5
"""Redirects of a file that are followed."""

SILENCE = 300.0
"""Seconds that a server may be silent: searches of large stores take their time."""

_PIECE = 256 * 1024


class Refused(Exception):
    """The server's answer is none that helps. `status` is what it answered, the text a sentence about it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Credentials(Protocol):
    """What requests are signed with."""

    def header(self, connection: "Connection") -> Mapping[str, str]:
        """The Authorization header now. Raises Refused, Stopped."""

    def renew(self) -> bool:
        """It was refused: whether another one may be had, which `header` then gives."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read as a whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises Stopped."""
        try:
            found: dict[str, Any] = msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Stopped(f"{plain(self.url)} does not answer with a JSON object") from None
        return found


class Connection:
    """The server at `base`. `origins` are others that files may be fetched from; credentials go to the base's own origin alone. `say` is
    told what a request waits for that is repeated."""

    def __init__(
        self, base: str, credentials: Credentials, *, origins: tuple[str, ...] = (), insecure: bool = False, say: Say = Patience.say
    ) -> None:
        self.base = base.rstrip("/")
        self._parts = checked(self.base)
        self._origins = {origin(checked(each)) for each in origins} | {origin(self._parts)}
        self._credentials = credentials
        if self._parts.scheme != "https" and not insecure and not loopback(self._parts.hostname or ""):
            raise Stopped(f"{self.base} is not https: records and credentials would travel unencrypted (--insecure allows it)")
        retries = Patience(
            TIMES, redirect=0, status_forcelist=(408, 425, 429, 502, 503, 504), allowed_methods=None, backoff_factor=PAUSE,
            backoff_max=LONGEST_PAUSE, backoff_jitter=PAUSE, raise_on_status=False, raise_on_redirect=False, retry_after_max=LONGEST_ASKED,
        ).saying(say)  # fmt: skip
        self._pool = urllib3.PoolManager(
            retries=retries, timeout=Timeout(connect=10.0, read=SILENCE), ssl_context=ssl.create_default_context(), maxsize=4
        )

    def near(self, link: str, of: str) -> str:
        """A link of the page `of`, absolute. Raises Stopped for one to another server: who follows it tells that one what is asked here."""
        url = urljoin(of, link)
        if origin(checked(url)) != origin(self._parts):
            raise Stopped(
                f"{plain(of)} links to {plain(url)}, which is not on the server that was named ({self.base}); give --from as that server"
                " calls itself, or have its base URL set right"
            )
        return url

    def get(self, url: str, **headers: str) -> Answer:
        """A whole answer, whatever its status. Raises Refused where there is none."""
        return self.ask("GET", url, headers)

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, *, sign: bool = True) -> Answer:
        """As `get`, with another method or body; unsigned where the address is not the server's own."""
        renewed = False
        for _ in range(TIMES):
            try:
                with self._open(method, url, headers, body, sign=sign) as response:
                    content = self._whole(url, response)
                answer = Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, content, url)
            except MaxRetryError as failure:
                raise Refused(0, f"{plain(url)} does not answer: {reason(failure)}") from None
            except HTTPError as failure:
                broken = failure
                continue
            if answer.status == 401 and sign and not renewed and self._credentials.renew():
                broken, renewed = HTTPError("the new token was not accepted either"), True
                continue
            return answer
        raise Refused(0, f"{plain(url)} cannot be read: {reason(broken)}") from None

    def download(self, url: str, path: Path, *, sign: bool, most: int) -> None:
        """A file, unpacked on the way, whole or not at all. Raises Refused, Stopped, OSError."""
        draft, renewed = path.with_name(f"{path.name}.part"), False
        for _ in range(TIMES):
            try:
                self._download(url, draft, sign=sign, most=most)
            except Refused as refused:
                if refused.status != 401 or not sign or renewed or not self._credentials.renew():
                    raise
                broken, renewed = HTTPError("the new token was not accepted either"), True
                continue
            except MaxRetryError as failure:
                raise Refused(0, f"{plain(url)} does not answer: {reason(failure)}") from None
            except HTTPError as failure:
                broken = failure
                continue
            draft.replace(path)
            return
        raise Refused(0, f"{plain(url)} cannot be read to its end: {reason(broken)}") from None

    def _download(self, url: str, draft: Path, *, sign: bool, most: int, hops: int = HOPS) -> None:
        if origin(checked(url)) not in self._origins:
            raise Stopped(f"a file lies at {plain(url)}, another server than was named; --files-from {_place(url)} allows it")
        with self._open("GET", url, {"Accept": "application/fhir+ndjson, */*;q=0.1"}, None, sign=sign) as response:
            if response.status in (301, 302, 303, 307, 308) and (link := response.headers.get("Location")):
                if hops == 0:
                    raise Refused(response.status, f"{plain(url)} redirects too often")
                self._download(urljoin(url, link), draft, sign=sign, most=most, hops=hops - 1)
                return
            if response.status != 200:
                raise Refused(response.status, f"{plain(url)} answers {response.status}")
            size = 0
            with draft.open("wb") as file:
                for piece in response.stream(_PIECE, decode_content=True):
                    size += len(piece)
                    if size > most:
                        raise Stopped(f"{plain(url)} has more than {most:,} bytes (FHIR_IMPORT_MAX_SIZE)")
                    file.write(piece)

    @contextmanager
    def _open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, sign: bool
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        signed = sign and origin(checked(url)) == origin(self._parts)
        all = {"Accept": FHIR_JSON, "Accept-Encoding": "gzip", **headers, **(self._credentials.header(self) if signed else {})}
        response = self._pool.request(method, url, headers=all, body=body, preload_content=False, redirect=False)
        try:
            yield response
        finally:
            response.close()

    def _whole(self, url: str, response: urllib3.BaseHTTPResponse) -> bytes:
        content = bytearray()
        for piece in response.stream(_PIECE, decode_content=True):
            content += piece
            if len(content) > MOST_PAGE:
                raise Stopped(f"{plain(url)} answers more than {MOST_PAGE:,} bytes; ask for smaller pages (--count)")
        return bytes(content)


def checked(url: str) -> SplitResult:
    """The parts of an absolute URL of http or https without a user's name. Raises Stopped."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        known = False
    if not known:
        raise Stopped(f"{plain(url)[:200]} is not a URL of http or https")
    if parts.username is not None:
        raise Stopped("a URL must not hold a user's name or password: give them by the environment or a file")
    return parts


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port."""
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def plain(url: str) -> str:
    """A URL as it may be shown: what follows its question mark may hold a signature, or what was searched for."""
    return url.partition("?")[0]


def _place(url: str) -> str:
    scheme, host, port = origin(checked(url))
    return f"{scheme}://{host}" + ("" if port == (443 if scheme == "https" else 80) else f":{port}")
