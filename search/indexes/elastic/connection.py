"""Requests to Elasticsearch, bytes in and bytes out, on the official client: its pool of connections, TLS and retries.

Its own JSON handling is left out: bodies are made and read by msgspec, which takes a tenth of the time. So are its methods and what it
does around each request (copies of options and headers, wrappers of answers), which take a third of a request's time: requests go to its
transport.
"""

import logging
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

import msgspec
from elastic_transport import ConnectionTimeout, HttpHeaders, Serializer, TransportError
from elasticsearch import AsyncElasticsearch

from resources.store import StoreUnavailable
from search.index import TooCostly

_ACCEPT = "application/vnd.elasticsearch+json; compatible-with=9"
_NDJSON = "application/vnd.elasticsearch+x-ndjson; compatible-with=9"
_TYPES = (
    "application/json",
    "application/x-ndjson",
    "application/vnd.elasticsearch+json",
    "application/vnd.elasticsearch+x-ndjson",
    "text/plain",
)
_DENIED = (401, 403)
_BLOCK = "cluster_block_exception"
"""With 403 or 429: an index, or all, were made to take nothing. With 503: the cluster is starting, or has no master."""
_GRACE = 2.0
"""Seconds beyond a search's own limit after which its answer is no longer waited for."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where Elasticsearch is. User and password may stand in the URL; `api_key` is the encoded form that Elasticsearch gives out."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout: float = 10.0
    retries: int = 2


class Refused(Exception):
    """Elasticsearch refused a request (`status`, its `kind` of error): ours to foresee, so it is a mistake if nobody catches it."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(f"Elasticsearch answered {status} ({kind})")
        self.status, self.kind = status, kind


class Denied(StoreUnavailable):
    """Elasticsearch is there and takes no such request: no permission, or a block, such as that of a full disk."""


class _AsItIs(Serializer):
    """Bodies pass through as bytes."""

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: Any) -> bytes:
        assert isinstance(data, bytes)
        return data


class Connection:
    """The client of one process. `open` belongs into the event loop that uses it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client: AsyncElasticsearch | None = None
        signed = _signed(server)
        self._json = HttpHeaders({"accept": _ACCEPT, "content-type": _ACCEPT, **signed}).freeze()
        self._lines = HttpHeaders({"accept": _ACCEPT, "content-type": _NDJSON, **signed}).freeze()

    def open(self) -> None:
        """Make the client. Nothing is sent yet, so this works while Elasticsearch is down."""
        if self._client is None:
            logging.getLogger("elastic_transport").setLevel(logging.WARNING)  # it tells of every request
            self._client = _client(self._server)

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        lines: bool = False,
        within: float | None = None,
    ) -> bytes:
        """The body of the answer. `lines`: the body is NDJSON. `within`: seconds instead of the usual limit.

        Raises StoreUnavailable where Elasticsearch cannot be reached, fails or is overloaded, Denied where it denies access, TooCostly for
        a query of too many clauses, and Refused for anything else that is no success.
        """
        if self._client is None:
            raise StoreUnavailable("The search index is not open.")
        target = f"{path}?{_query(tuple(params.items()))}" if params else path
        try:
            meta, answer = await self._client.transport.perform_request(
                method,
                target,
                headers=self._lines if lines else self._json,
                body=body,
                request_timeout=self._server.timeout if within is None else within + _GRACE,
                max_retries=self._server.retries,
                retry_on_timeout=False,
                retry_on_status=(),
            )
        except ConnectionTimeout:
            raise StoreUnavailable(
                "The search index (Elasticsearch) did not answer in time; send the request again later."
            ) from None
        except TransportError as failure:
            text = "The search index (Elasticsearch) cannot be reached; searches work again once it is back."
            raise StoreUnavailable(text) from failure
        if not 200 <= meta.status < 300:
            raise refusal(meta.status, answer)
        if meta.headers.get("x-elastic-product") != "Elasticsearch":
            raise StoreUnavailable("The server that FHIR_SEARCH_URL names is no Elasticsearch.")
        return bytes(answer) if answer else b""


@lru_cache(maxsize=256)
def _query(params: tuple[tuple[str, Any], ...]) -> str:
    return urlencode(params)


def _signed(server: Server) -> dict[str, str]:
    """The header that says who asks, if the server's address says so."""
    if server.api_key:
        return {"authorization": f"ApiKey {server.api_key}"}
    parts = urlsplit(server.url)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _client(server: Server) -> AsyncElasticsearch:
    parts = urlsplit(server.url)
    host = parts.netloc.rpartition("@")[2]
    port = f":{443 if parts.scheme == 'https' else 9200}" if parts.port is None else ""
    options: dict[str, Any] = {"ca_certs": str(server.ca_file)} if server.ca_file is not None else {}
    return AsyncElasticsearch(
        urlunsplit((parts.scheme, host + port, parts.path.rstrip("/"), "", "")),
        serializers={name: _AsItIs() for name in _TYPES},
        connections_per_node=16,
        **options,
    )


class _Cause(msgspec.Struct):
    type: str = ""
    root_cause: list["_Cause"] = []
    caused_by: "_Cause | None" = None


class _Error(msgspec.Struct):
    error: _Cause | str = ""


def refusal(status: int, body: object) -> Exception:
    """What a refusal means. Its own words quote queries and documents; only its kinds are kept."""
    kinds = _kinds(body)
    if any("too_many" in kind for kind in kinds):
        return TooCostly("The search has more alternatives than the search index takes at once; ask for fewer values at a time.")
    blocked = _BLOCK in kinds and status < 500  # as for a full disk
    if status in _DENIED or blocked:  # no sign-in that it knows, no permission, or a block
        return Denied(f"The search index (Elasticsearch) denies access ({'/'.join(kinds) or status}).")
    if status == 429 or status >= 500:
        return StoreUnavailable("The search index (Elasticsearch) is overloaded or not ready; send the request again later.")
    return Refused(status, "/".join(kinds) or "unknown")


def _kinds(body: object) -> list[str]:
    try:
        error = msgspec.json.decode(bytes(body), type=_Error).error if isinstance(body, bytes | bytearray) else ""
    except msgspec.DecodeError:
        return []
    if isinstance(error, str):
        return [error] if error.isidentifier() else []
    found = [error.type, *(cause.type for cause in error.root_cause)]
    inner = error.caused_by
    while inner is not None and len(found) < 8:
        found.append(inner.type)
        inner = inner.caused_by
    return list(dict.fromkeys(kind for kind in found if kind))
