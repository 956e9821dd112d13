"""A server as the source of a migration: first all is fetched into files, then these are read line by line."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from fhir_server.migrating.contract import Chunk, Item, Place, Problem, Progress, Stopped, Wrong
from fhir_server.migrating.remote.asked import Asked, File, Way
from fhir_server.migrating.remote.bulk import UNABLE, Export
from fhir_server.migrating.remote.connection import Connection, Refused
from fhir_server.migrating.remote.keeping import load, save
from fhir_server.migrating.remote.lines import Line, lines
from fhir_server.migrating.remote.paging import Paging, statement
from resources.outcomes import FhirError

MOST, ENOUGH = 200, 1_000_000
"""Lines, and bytes of them, at which a chunk is closed."""

Rewrite = Callable[[bytes], bytes]


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    id: str = ""
    meta: msgspec.Raw = msgspec.Raw()


_head = msgspec.json.Decoder(_Head).decode


class RemoteSource:
    """The server at the other end of `connection`. `known` types are imported; `rewrite` is done to each resource before anything
    else."""

    strict = False

    def __init__(
        self, connection: Connection, asked: Asked, known: frozenset[str], way: Way, folder: Path, rewrite: Rewrite | None = None
    ) -> None:
        self._connection, self._asked, self._known, self._way, self._folder = connection, asked, known, way, folder
        self._rewrite = rewrite
        self._got: Export | Paging = Export(connection, asked, known, folder)

    def prepare(self, progress: Progress) -> None:
        """Fetch everything, by the way that was asked for; `auto`: by export where the server has one. Raises Stopped."""
        mark = self._folder / "way.json"
        way = load(mark, str) or self._way
        if way != "pages" and self._exported(progress, must=way == "export"):
            save(mark, "export")
            return
        if self._asked.level:
            raise Stopped(
                "--level is for exports: " + ("--by pages makes none" if way == "pages" else "this server does not export")
            )
        self._got = paging = Paging(self._connection, self._asked, self._known, self._folder)
        save(mark, "pages")
        paging.run(progress)

    def counts(self) -> Mapping[str, int]:
        """As the manifest tells, or searches have."""
        return self._got.counts()

    def problems(self) -> list[Wrong]:
        """What the server could not give."""
        return self._got.problems()

    def chunks(self, after: Place) -> Iterator[Chunk]:
        """The files, line by line."""
        for number, file in enumerate(self._got.files()):
            if number >= after.part:
                yield from self._of_file(number, file, after if number == after.part else Place(number))

    def deleted(self) -> Iterator[tuple[str, str]]:
        """As the manifest tells; searches do not tell."""
        if isinstance(self._got, Export):
            yield from self._got.deleted()

    def finish(self) -> None:
        """The server may forget its files."""
        if isinstance(self._got, Export):
            self._got.finish()

    def _exported(self, progress: Progress, *, must: bool) -> bool:
        """Whether everything was fetched by an export. Raises Stopped."""
        export = Export(self._connection, self._asked, self._known, self._folder)
        if not export.begun and not must and not _exports(statement(self._connection)):
            return False
        try:
            export.run(progress)
        except Refused as refused:
            if must or export.begun or self._asked.level or refused.status not in UNABLE:
                raise Stopped(str(refused)) from None
            return False
        self._got = export
        return True

    def _of_file(self, part: int, file: File, place: Place) -> Iterator[Chunk]:
        items, wrong, size, number = list[Item](), list[Wrong](), 0, place.number
        for line in lines(file.path, self._asked.longest, self._asked.most):
            if line.number <= place.number:
                continue
            number, found = line.number, self._item(file, line)
            if isinstance(found, Item):
                items.append(found)
            else:
                wrong.append(found)
            size += len(line.body)
            if len(items) + len(wrong) >= MOST or size >= ENOUGH:
                yield Chunk(items, wrong, Place(part, number))
                items, wrong, size = [], [], 0
        if items or wrong:
            yield Chunk(items, wrong, Place(part, number))

    def _item(self, file: File, line: Line) -> Item | Wrong:
        where, body = f"{file.shown} line {line.number}", line.body
        if not line.whole:
            return Wrong(
                file.type, where, (Problem("too-long", f"The line has more than {self._asked.longest} bytes (FHIR_MAX_BODY)"),)
            )
        try:
            head = _head(body)
            if b"SUBSETTED" in bytes(head.meta):
                text = "The source gave a part of the resource (SUBSETTED), which must not take the place of the whole"
                return Wrong(file.type, f"{where} ({file.type}/{head.id})", (Problem("incomplete", text),))
            return Item(file.type, head.id, self._rewrite(body) if self._rewrite else body, line.number, where)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, FhirError):
            return Wrong(file.type, where, (Problem("structure", "The line is not a JSON object"),))


def _exports(told: dict[str, object]) -> bool:
    """Whether a CapabilityStatement names an export, of the system or of patients."""
    import json

    text = json.dumps(told)
    return '"export"' in text or "/OperationDefinition/export" in text or "bulkdata" in text
