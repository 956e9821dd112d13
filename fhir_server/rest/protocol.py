"""uvicorn's HTTP protocol with bounds on the head of a request: its size, and the time it may take to arrive.

Without them a connection that never finishes its headers is kept for ever. Bodies are bounded in `fhir_server/rest/bodies.py`.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_SECONDS = 20.0
"""From the connection, or the first byte of a later request, to the last header."""

HEAD_BYTES = 262_144
"""Request line and headers."""


URL_BYTES = 65_000
"""The URL parser takes no more than 65,535. A longer one is cut and marked, so that whoever answers can say 414."""

URL_WAS_CUT = "url_was_cut"


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _head_open = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: the first request's head is due."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; too many of them before the end of a head close the connection with 431."""
        super().data_received(data)
        if not self._head_open:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(431)
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._head_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_open, self._head_bytes = False, 0
        if self._deadline is not None:
            self._stop_clock()
        if len(self.url) > URL_BYTES:
            self.url = self.url[:URL_BYTES]
            cast(dict[str, Any], self.scope)[URL_WAS_CUT] = True
        super().on_headers_complete()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int) -> None:
        self._stop_clock()
        if self.transport.is_closing():
            return
        head = cast(dict[int, Any], STATUS_LINE)[status]
        self.transport.write(head + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
