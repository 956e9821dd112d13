"""All of another server by its own `$export` (https://hl7.org/fhir/uv/bulkdata/STU2/export.html): begun once, waited for, files fetched.

The address of the export is kept, so that the same export is gone on with after this process was killed.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import msgspec

from fhir_server.migrating.contract import Problem, Progress, Stopped, Wrong
from fhir_server.migrating.remote.asked import Asked, File
from fhir_server.migrating.remote.connection import FHIR_JSON, Connection, Refused, plain
from fhir_server.migrating.remote.keeping import load, save
from fhir_server.migrating.remote.lines import Line, lines
from fhir_server.migrating.remote.omitted import left_out

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two looks at an export, where it does not say: doubled each time."""

UNABLE = (400, 404, 405, 501)
"""Statuses of a kick-off that mean: this server does not export."""


class Output(msgspec.Struct, frozen=True):
    """A file of the manifest."""

    type: str
    url: str
    count: int | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What the export has come to."""

    output: tuple[Output, ...]
    deleted: tuple[Output, ...] = ()
    error: tuple[Output, ...] = ()
    requires_access_token: bool = True


class State(msgspec.Struct, frozen=True):
    """How far it has come: the address where the export tells of itself, then its manifest."""

    status: str = ""
    manifest: Manifest | None = None


class Export:
    """One export and its files in a folder; only those of `known` types are fetched."""

    def __init__(self, connection: Connection, asked: Asked, known: frozenset[str], folder: Path) -> None:
        self._known = known
        self._connection, self._asked, self._folder = connection, asked, folder
        self._path = folder / "export.json"
        self._counted: dict[Path, int] = {}
        self._state = load(self._path, State) or State()

    @property
    def begun(self) -> bool:
        """Whether there is one that is gone on with."""
        return bool(self._state.status)

    def run(self, progress: Progress) -> None:
        """Fetch everything. Raises Refused where the server does not export, Stopped where it fails."""
        if not self._state.status:
            self._begin()
        if self._state.manifest is None:
            self._wait(progress)
        files = [*self._wanted(), *self._fetched("deleted"), *self._fetched("error")]
        for number, (each, path) in enumerate(files):
            progress("fetching files", number, len(files))
            if not path.exists():
                self._fetch(each, path)
        progress("fetching files", len(files), len(files))

    def files(self) -> list[File]:
        """The resources."""
        return [File(path, each.type, each.url.partition("?")[0].rpartition("/")[2]) for each, path in self._wanted()]

    def counts(self) -> Counter[str]:
        """How many resources of each type the manifest tells; of files for which it does not, how many there are."""
        found: Counter[str] = Counter()
        for each, path in self._wanted():
            found[each.type] += each.count if each.count is not None else self._count(path)
        return found

    def problems(self) -> list[Wrong]:
        """What the server could not export, and files that hold more or less than the manifest says."""
        unknown = dict.fromkeys(each.type for each, _ in self._fetched("output") if each.type not in self._known)
        found = [Wrong(type, "the manifest", (left_out(type),)) for type in unknown]
        for each, path in self._wanted():
            found_there = self._count(path)
            if each.count is not None and each.count != found_there:
                text = f"The manifest says {each.count:,} resources, the file has {found_there:,} lines"
                found.append(Wrong(each.type, plain(each.url), (Problem("incomplete", text),)))
        for each, path in self._fetched("error"):
            found += [_told(each, line) for line in self._lines(path)]
        return found

    def deleted(self) -> Iterator[tuple[str, str]]:
        """Types and ids of what was deleted since."""
        for each, path in self._fetched("deleted"):
            for line in self._lines(path):
                try:
                    entries = msgspec.json.decode(line.body, type=dict[str, Any]).get("entry", [])
                    asked = [entry["request"] for entry in entries]
                    found = [tuple(one["url"].split("/")) for one in asked if one["method"] == "DELETE"]
                except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
                    raise Stopped(f"{plain(each.url)} tells of deletions in a form that is not that of the specification") from None
                yield from ((name[0], name[1]) for name in found if len(name) == 2)

    def finish(self) -> None:
        """Tell the server that its files are not needed any more. It may have forgotten them."""
        try:
            self._connection.ask("DELETE", self._state.status, {})
        except (Refused, Stopped):
            return

    def _lines(self, path: Path) -> Iterator[Line]:
        return lines(path, self._asked.longest, self._asked.most)

    def _count(self, path: Path) -> int:
        if path not in self._counted:
            self._counted[path] = sum(1 for _ in self._lines(path))
        return self._counted[path]

    def _begin(self) -> None:
        for path in self._folder.glob("*.ndjson"):  # of an export that was given up
            path.unlink()
        asked = self._asked
        level = f"{asked.level}/" if asked.level else ""
        query = {"_type": ",".join(asked.types), "_since": asked.since}
        told = urlencode({name: value for name, value in query.items() if value}, safe=",:")
        url = f"{self._connection.base}/{level}$export" + (f"?{told}" if told else "")
        answer = self._connection.get(url, Accept=FHIR_JSON, Prefer="respond-async")
        link = answer.headers.get("content-location")
        if answer.status != 202 or not link:
            raise Refused(answer.status, f"{plain(url)} answers {answer.status}{_text(answer.body)}")
        self._keep(State(self._connection.near(link, url)))

    def _wait(self, progress: Progress) -> None:
        """Look at the export until it is done. Raises Stopped where it has failed, or is not known any more."""
        url, pause = self._state.status, FIRST_PAUSE
        while True:
            answer = self._connection.get(url, Accept="application/json")
            if answer.status == 200:
                self._keep(State(url, self._read_manifest(answer.body, url)))
                return
            if answer.status != 202:
                self._path.unlink(missing_ok=True)
                raise Stopped(
                    f"the export {plain(url)} answers {answer.status}{_text(answer.body)}; the same command begins another one"
                )
            progress(f"export: {answer.headers.get('x-progress', 'under way')[:60]}", 0, None)
            time.sleep(_seconds(answer.headers.get("retry-after"), pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _read_manifest(self, body: bytes, url: str) -> Manifest:
        try:
            manifest = msgspec.json.decode(body, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise Stopped(f"{plain(url)} does not answer with a manifest: {str(problem)[:200]}") from None
        if {"next"} & {str(link.get("relation")) for link in msgspec.json.decode(body).get("link", [])}:
            raise Stopped(
                f"{plain(url)} gives its manifest in pieces (allowPartialManifests), which was not asked for; use --by pages"
            )
        return manifest

    def _fetch(self, each: Output, path: Path) -> None:
        """Raises Stopped."""
        assert self._state.manifest is not None
        sign = self._state.manifest.requires_access_token
        try:
            self._connection.download(urljoin(self._state.status, each.url), path, sign=sign, most=self._asked.most)
        except Refused as refused:
            if refused.status in (404, 410):
                self._path.unlink(missing_ok=True)
            raise Stopped(f"{refused}; the same command goes on") from None

    def _wanted(self) -> list[tuple[Output, Path]]:
        return [(each, path) for each, path in self._fetched("output") if each.type in self._known]

    def _fetched(self, kind: str) -> list[tuple[Output, Path]]:
        outputs: tuple[Output, ...] = getattr(self._state.manifest, kind) if self._state.manifest else ()
        return [(each, self._folder / f"{kind}.{number:06d}.ndjson") for number, each in enumerate(outputs)]

    def _keep(self, state: State) -> None:
        self._state = state
        save(self._path, state)


def _told(each: Output, line: Line) -> Wrong:
    """An OperationOutcome of the source's own."""
    where = f"{plain(each.url)} line {line.number}"
    try:
        issues = msgspec.json.decode(line.body, type=dict[str, Any])["issue"]
        problems = tuple(
            Problem(
                str(issue.get("code", "exception")),
                f"The source says: {(issue.get('details') or {}).get('text') or issue.get('diagnostics') or 'no reason'}",
                None,
                str(issue.get("severity", "error")),
            )
            for issue in issues
        )
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        problems = (Problem("exception", "The source tells of an error in a form that cannot be read"),)
    return Wrong("", where, problems)


def _text(body: bytes) -> str:
    """What an OperationOutcome says."""
    try:
        issue = msgspec.json.decode(body, type=dict[str, Any])["issue"][0]
        text = (issue.get("details") or {}).get("text") or issue.get("diagnostics") or ""
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError, AttributeError):
        text = ""
    return f": {str(text)[:300]}" if text else ""


def _seconds(header: str | None, otherwise: float) -> float:
    """What Retry-After asks for: seconds or a date, at least a tenth of a second, at most ten minutes."""
    if not header:
        return otherwise
    try:
        asked = float(header) if header.strip().isdigit() else (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return otherwise
    return min(max(asked, 0.1), 600.0)
