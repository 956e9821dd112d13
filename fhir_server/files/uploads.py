"""Multipart uploads that were begun and never completed.

obstore cannot list them. But it signs requests with whatever credentials it has found, and the address that it signs may have a query: so
these two requests are signed by it and sent here; by a client that logs no addresses, for whoever has one may send it again (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html,
https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html).
"""

import ssl
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp
import obstore
from obstore.store import S3Store
from yarl import URL

from fhir_server.files.place import Place
from fhir_server.files.refusals import unavailable

_SIGNED: Final = timedelta(minutes=5)
_TIME: Final = aiohttp.ClientTimeout(total=60, connect=5)
PAGE: Final = 1_000
"""Uploads that are listed at once, at most."""

_IGNORED: Final = {"x-files": ""}
"""A parameter that S3 ignores, as all that begin with `x-`: obstore adds a slash to what stands at the end."""


class Upload(NamedTuple):
    """An upload under way: the key that it is to have, and when it began, in seconds since the epoch."""

    key: str
    id: str
    begun: float


class Uploads:
    """The uploads under way to a place. `store` is its bucket with its prefix. All raises FilesUnavailable, or what obstore raises."""

    def __init__(self, place: Place, store: S3Store) -> None:
        self._place, self._store = place, store
        self._trusted = ssl.create_default_context()
        if place.certificates:
            self._trusted.load_verify_locations(cadata=place.certificates)

    async def abort(self, seconds: float) -> int:
        """Abort those that began that many seconds ago or earlier; how many they were."""
        before = time.time() - seconds
        bucket = await self._address()
        async with aiohttp.ClientSession(timeout=_TIME, trust_env=True) as http:
            old = [one for one in await self._listed(http, bucket) if one.begun <= before]
            for one in old:
                await self._asked(http, "DELETE", f"{bucket}/{one.key}", {"uploadId": one.id})
        return len(old)

    async def _listed(self, http: aiohttp.ClientSession, bucket: str) -> list[Upload]:
        """All of them. What follows in the list is asked for by the key alone: VersityGW does not know its own marker of an upload. So
        where a page ends between two uploads of one key, the second is found when the first is gone."""
        found: list[Upload] = []
        after: str | None = ""
        while after is not None:
            page, after = await self._page(http, bucket, after)
            found += page
        return found

    async def _page(self, http: aiohttp.ClientSession, bucket: str, after: str) -> tuple[list[Upload], str | None]:
        """Some of the uploads, and the key after which the next ones follow (None: there are none)."""
        prefix = f"{self._place.prefix}/" if self._place.prefix else ""
        query = {"uploads": "", "prefix": prefix, "max-uploads": str(PAGE)} | ({"key-marker": after} if after else {})
        text = await self._asked(http, "GET", bucket, query)
        answer = ET.fromstring(text)  # noqa: S314  (no entities: expat expands none of other files, and bounds the others)
        found = [
            Upload(_text(one, "Key"), _text(one, "UploadId"), datetime.fromisoformat(_text(one, "Initiated")).timestamp())
            for one in answer.findall("{*}Upload")
        ]
        return found, _text(answer, "NextKeyMarker") if _text(answer, "IsTruncated") == "true" else None

    async def _address(self) -> str:
        """The bucket's address, without a slash at its end."""
        parts = urlsplit(await obstore.sign_async(self._store, "GET", "x", _SIGNED))
        inside = f"/{self._place.prefix}/x" if self._place.prefix else "/x"
        return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(inside)}"

    async def _asked(
        self, http: aiohttp.ClientSession, method: Literal["GET", "DELETE"], address: str, query: dict[str, str]
    ) -> str:
        store = self._place.store(f"{address}?{urlencode(query | _IGNORED)}", prefix="", path_style=False)
        url = URL(await obstore.sign_async(store, method, "", _SIGNED), encoded=True)
        if url.scheme != "https" and not self._place.plain_http:
            raise unavailable(OSError("no plain http"))
        try:
            async with http.request(method, url, ssl=self._trusted, allow_redirects=False) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise unavailable(OSError(type(problem).__name__)) from None
        ended = method == "DELETE" and "NoSuchUpload" in text
        if answer.status >= 300 and not ended:
            raise unavailable(OSError(f"status code: {answer.status} {text}"))
        return text


def _text(inside: ET.Element, name: str) -> str:
    return inside.findtext(f"{{*}}{name}") or ""
