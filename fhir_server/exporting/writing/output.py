"""The files of a part, one after another: each is full at the same document whoever writes it, and is published whole or not at all."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from fhir_server.exporting.asked import NDJSON, PARQUET
from fhir_server.exporting.writing.written import Item, Place, Written
from fhir_server.files.contract import Writer
from fhir_server.jobs import work
from fhir_server.jobs.work import Task, Turn

MOST = 50_000
"""Documents in a file."""

MOST_BYTES = 128 * 1024 * 1024
"""Bytes (of JSON) after which a file is closed; one document may go beyond them."""

TURN = 10.0
"""Seconds after which a part is let go behind a file, where another job waits."""

ENDINGS = {NDJSON: "ndjson", PARQUET: "parquet"}


class Sheet(Protocol):
    """What writes items in a format."""

    async def write(self, items: Sequence[Item]) -> None:
        """Add items. Raises FilesUnavailable."""

    async def finish(self) -> None:
        """Write what has been held back."""


class Form(NamedTuple):
    """A format: the Content-Type and the ending of files, and what makes a sheet of a file."""

    content_type: str
    ending: str
    sheet: Callable[[Writer], Sheet]


class Lines:
    """NDJSON."""

    def __init__(self, file: Writer) -> None:
        self._file = file

    async def write(self, items: Sequence[Item]) -> None:
        """See Sheet."""
        await self._file.write(b"".join(item.data + b"\n" for item in items))

    async def finish(self) -> None:
        """See Sheet."""


class Output:
    """What a part writes. `type` is that of its documents ("" for several), `name` begins the names of its files, `about` are the
    types that who fetches them must be allowed to see. Used as an async context: a file that is open when it ends with an error is not
    published."""

    def __init__(
        self,
        task: Task,
        place: Place,
        *,
        type: str,
        name: str,
        about: tuple[str, ...],
        role: str = "output",
        format: str | Form = NDJSON,
    ) -> None:
        self.place = place
        self._task, self._type, self._begins, self._about, self._role = task, type, name, about, role
        self._form = format if isinstance(format, Form) else _form(format, type)
        self._stack = AsyncExitStack()
        self._file: Writer | None = None
        self._sheet: Sheet | None = None
        self._name, self._count, self._bytes, self._after = "", 0, 0, place.after
        self._patients: dict[str, None] = {}
        self._next: dict[str, None] = {}
        self._began = self._decided = time.monotonic()
        self._changed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def about(self, patients: Iterable[str]) -> None:
        """What is written next is about these patients (ids): they are named in the record of accesses together with the file."""
        self._next.update(dict.fromkeys(patients))

    async def add(self, items: Sequence[Item]) -> None:
        """Write items; closes each file that is full with them. Raises Failed where the owner may have nothing any more, Turn where the
        next file is to be begun anew: with what the owner may see by now, or because another job has its turn."""
        await self._look()
        while items:
            taken = self._fitting(items)
            await self._write(items[:taken])
            items = items[taken:]
            await self._close_full()
        self._next = {}

    async def hold(self, items: Sequence[Item]) -> None:
        """Write items that stay in one file with those that come next, up to `settle`. Raises Failed as `add`."""
        await self._look()
        await self._write(items)
        self._next = {}

    async def settle(self) -> None:
        """What was held is complete: closes the file if it is full. Raises as `add`."""
        await self._close_full()

    async def _write(self, items: Sequence[Item]) -> None:
        sheet = self._sheet or await self._open()
        await sheet.write(items)
        self._patients.update(self._next)  # whatever is written in several files is named with each
        self._count += sum(item.lines for item in items)
        self._bytes += sum(len(item.data) for item in items)
        self._after = items[-1].after

    async def _close_full(self) -> None:
        if self._full():
            await self.close()
            await self._look()
            if self._changed or (time.monotonic() > self._began + TURN and await self._task.awaited()):
                raise Turn

    async def _look(self) -> None:
        """See now and then whether the owner may still have what is written."""
        if time.monotonic() > self._decided + work.FRESH:
            now = await self._task.decided()
            self._changed = self._changed or now.ctx.decision is not self._task.ctx.decision
            self._decided = time.monotonic()

    def _full(self) -> bool:
        return self._count >= MOST or self._bytes >= MOST_BYTES

    def _fitting(self, items: Sequence[Item]) -> int:
        """How many of the items go into this file: up to the one that fills it."""
        count, size = self._count, self._bytes
        for number, item in enumerate(items, 1):
            count, size = count + item.lines, size + len(item.data)
            if count >= MOST or size >= MOST_BYTES:
                return number
        return len(items)

    async def _open(self) -> Sheet:
        self._name = f"{self._begins}.{self._task.part.number:06d}.{len(self.place.files):03d}.{self._form.ending}"
        writing = self._task.files.writing(f"{self._task.job.id}/{self._name}", self._form.content_type)
        self._file, self._count, self._bytes = await self._stack.enter_async_context(writing), 0, 0
        self._sheet = self._form.sheet(self._file)
        return self._sheet

    async def close(self) -> None:
        """Publish the file that is open, if there is one, and put down that everything up to its last item is done; in the same commit
        it is recorded whom the file is about."""
        if self._file is None or self._sheet is None:
            return
        await self._sheet.finish()
        written = Written(self._name, self._type, self._count, self._file.size, self._about, self._role)
        await self._stack.aclose()
        self._file = self._sheet = None
        self.place = Place(self._after, (*self.place.files, written))
        await self._task.keep(self.place, self._events(self._patients))
        self._patients = {}

    async def refused(self, patients: Collection[str]) -> None:
        """Put on record that the error with which the part ends tells of these patients. Raises Lost."""
        await self._task.keep(self.place, self._events(patients))

    def _events(self, patients: Collection[str]) -> list[bytes]:
        if not patients:
            return []
        ctx, names, request = self._task.ctx, [f"Patient/{id}" for id in patients], self._task.request
        trail = replace(request.trail, job=f"$job/{self._task.job.id}/{self._name}".rstrip("/"))
        return ctx.audit.success(ctx.clock(), self._task.who, request.having(trail=trail), "operation", names)


def _form(format: str, type: str) -> Form:
    return Form(format, ENDINGS[format], Lines if format == NDJSON else partial(_parquet, type=type))


def _parquet(file: Writer, type: str) -> Sheet:
    from fhir_server.exporting.writing.parquet import Columns  # it brings pyarrow along

    return Columns(file, type)
