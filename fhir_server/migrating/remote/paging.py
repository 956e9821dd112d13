"""All of another server by searching: type after type, page after page along its `next` links
(https://hl7.org/fhir/R4/http.html#paging). Where it stands is kept after each page."""

import os
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from fhir_server.migrating.contract import Problem, Progress, Stopped, Wrong
from fhir_server.migrating.remote.asked import Asked, File
from fhir_server.migrating.remote.connection import Answer, Connection, Refused, plain
from fhir_server.migrating.remote.keeping import load, save
from fhir_server.migrating.remote.omitted import left_out
from resources.documents import compact

MOST_IDLE = 50
"""Empty pages in a row, at most."""


class _Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class _Search(msgspec.Struct):
    mode: str = "match"


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw()
    search: _Search = msgspec.field(default_factory=_Search)


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    type: str = ""
    link: list[_Link] = []
    entry: list[_Entry] = []


_bundle = msgspec.json.Decoder(_Bundle).decode


class Where(msgspec.Struct, frozen=True):
    """Of one type: the page that comes next ("": the first one; None: there is none), how many resources and bytes there are so far, and
    how many the server said that it has. `idle`: pages in a row that had nothing on them."""

    next: str | None = ""
    count: int = 0
    size: int = 0
    total: int | None = None
    refused: str = ""
    again: bool = False
    idle: int = 0
    unknown: bool = False


class State(msgspec.Struct):
    """All types, in order."""

    types: dict[str, Where] = {}


class Paging:
    """The pages of a server as files in a folder, one a type; only those of `known` types are asked for."""

    def __init__(self, connection: Connection, asked: Asked, known: frozenset[str], folder: Path) -> None:
        self._known = known
        self._connection, self._asked, self._folder = connection, asked, folder
        self._path = folder / "pages.json"
        self._state = load(self._path, State) or State()

    @property
    def begun(self) -> bool:
        """Whether there is something that is gone on with."""
        return bool(self._state.types)

    def run(self, progress: Progress) -> None:
        """Fetch everything. Raises Stopped."""
        if not self._state.types:
            types = self._asked.types or searchable(self._connection)
            self._state = State({type: Where() if type in self._known else Where(next=None, unknown=True) for type in types})
            self._keep()
        try:
            for type in self._state.types:
                if self._state.types[type] == Where():
                    self._set(type, self._counted(type))
                self._page_through(type, progress)
        except Refused as refused:
            raise Stopped(f"{refused}; the same command goes on") from None

    def files(self) -> list[File]:
        """The resources."""
        return [File(self._file(type), type, f"search for {type}") for type, where in self._state.types.items() if where.count]

    def counts(self) -> Counter[str]:
        """How many resources the server said that it has, of types of which it said so."""
        return Counter({type: where.total for type, where in self._state.types.items() if where.total})

    def problems(self) -> list[Wrong]:
        """Types that could not be searched."""
        found = []
        for type, where in self._state.types.items():
            if where.unknown:
                found.append(Wrong(type, f"search for {type}", (left_out(type),)))
            elif where.refused:
                found.append(Wrong(type, f"search for {type}", (Problem("incomplete", where.refused),)))
        return found

    def _counted(self, type: str) -> Where:
        """A type before its first page, with what the server says that it has."""
        answer = self._connection.get(f"{self._connection.base}/{type}?{self._query(_summary='count')}")
        total = answer.json().get("total") if answer.status == 200 else None
        if answer.status in (400, 403, 404, 405, 501):
            return Where(next=None, refused=f"The source does not let {type} be searched: it answers {answer.status}")
        return Where(next=None if total == 0 else "", total=total if isinstance(total, int) else None)

    def _page_through(self, type: str, progress: Progress) -> None:
        path = self._file(type)
        with path.open("ab") as file:
            file.truncate(self._state.types[type].size)
            while (where := self._state.types[type]).next is not None:
                url = where.next or f"{self._connection.base}/{type}?{self._query(_count=str(self._asked.page))}"
                answer = self._connection.get(url)
                if answer.status in (400, 404, 410) and where.next and not where.again:
                    file.truncate(0)  # the server has forgotten the search: it is begun again, once
                    self._set(type, Where(total=where.total, again=True))
                    continue
                lines, link = self._read(type, answer)
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
                count = where.count + lines.count(b"\n")
                idle = 0 if lines else where.idle + 1
                if link == url or idle > MOST_IDLE:
                    raise Stopped(f"{plain(url)} names itself as the page that follows, or turns empty pages without end")
                self._set(type, msgspec.structs.replace(where, next=link, count=count, size=where.size + len(lines), idle=idle))
                progress(f"fetching {type}", count, where.total)

    def _read(self, type: str, answer: Answer) -> tuple[bytes, str | None]:
        """The resources of a page as lines, and the address of the next one. Raises Refused, Stopped."""
        if answer.status != 200:
            raise Refused(answer.status, f"{plain(answer.url)} answers {answer.status}")
        try:
            page = _bundle(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Stopped(f"{plain(answer.url)} does not answer with a Bundle in JSON") from None
        if page.resource_type != "Bundle" or page.type != "searchset":
            raise Stopped(f"{plain(answer.url)} does not answer with a Bundle of the type searchset")
        found = [bytes(entry.resource) for entry in page.entry if entry.search.mode == "match" and entry.resource]
        lines = b"".join(compact(body) + b"\n" for body in found)
        link = next((each.url for each in page.link if each.relation == "next"), None)
        return lines, None if link is None else self._connection.near(link, answer.url)

    def _query(self, **more: str) -> str:
        since = {"_lastUpdated": f"ge{self._asked.since}"} if self._asked.since else {}
        return urlencode({**since, **more}, safe=",:")

    def _file(self, type: str) -> Path:
        return self._folder / f"pages.{type}.ndjson"

    def _set(self, type: str, where: Where) -> None:
        self._state.types[type] = where
        self._keep()

    def _keep(self) -> None:
        save(self._path, self._state)


def statement(connection: Connection) -> dict[str, Any]:
    """The server's CapabilityStatement (https://hl7.org/fhir/R4/http.html#capabilities). Raises Stopped."""
    try:
        answer = connection.get(f"{connection.base}/metadata")
    except Refused as refused:
        raise Stopped(str(refused)) from None
    if answer.status != 200:
        raise Stopped(f"{connection.base}/metadata answers {answer.status}: is this the base URL of a FHIR server?")
    told = answer.json()
    if told.get("resourceType") != "CapabilityStatement":
        raise Stopped(f"{connection.base}/metadata is no CapabilityStatement: is this the base URL of a FHIR server?")
    version = str(told.get("fhirVersion", ""))
    if not version.startswith("4.0"):
        raise Stopped(f"{connection.base} is a server of FHIR {version or 'of unknown version'}; only R4 (4.0.1) can be imported")
    return told


def searchable(connection: Connection) -> list[str]:
    """The types that can be searched. Raises Stopped."""
    found = [
        resource["type"]
        for rest in statement(connection).get("rest", [])
        for resource in rest.get("resource", [])
        if isinstance(resource.get("type"), str)
        and (not resource.get("interaction") or {"search-type"} & {each.get("code") for each in resource["interaction"]})
    ]
    if not found:
        raise Stopped(f"{connection.base}/metadata names no type that can be searched; name types with --type")
    return list(dict.fromkeys(found))
