"""Documents cut into tasks: Bundles as they came, single resources many to a transaction. A task is one request to the server."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from fhir_server.importing.wrong import ENOUGH, MOST
from fhir_server.loading.sources import Document

Kind = Literal["transaction", "batch", "resources", "one by one"]
"""`transaction` and `batch`: a Bundle from a file. `resources`: single resources put together in a transaction; `one by one`: in a
batch, because the transaction was refused and the rest of it shall not suffer."""


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    id: str = ""
    type: msgspec.Raw = msgspec.Raw()


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw()


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


_head = msgspec.json.Decoder(_Head)
_bundle = msgspec.json.Decoder(_Bundle)
_text = msgspec.json.Encoder().encode


class Part(NamedTuple):
    """A single resource in a task: where it stands in its file, its bytes, its address ("Patient/1", or "Patient" without id)."""

    line: int
    entry: int | None
    body: bytes
    url: str


class Fault(NamedTuple):
    """What could not be loaded and why. `entry`: the number of the Bundle's entry, None for the document itself."""

    line: int
    entry: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """One request. `lines` are those of the file that it covers; `parts` the single resources, if it is made of such."""

    kind: Kind
    lines: tuple[int, ...]
    body: bytes
    parts: tuple[Part, ...] = ()

    @property
    def addresses(self) -> frozenset[str]:
        """The resources whose order of writing matters."""
        return frozenset(part.url for part in self.parts if "/" in part.url)

    def key(self, identity: str) -> str:
        """An Idempotency-Key: the same task of the same file is never carried out twice, whatever happened in between."""
        places = [(part.line, part.entry) for part in self.parts] or self.lines
        return blake2b(f"{identity} {self.kind} {places}".encode(), digest_size=16).hexdigest()


class _Waiting:
    """Single resources that will be one task."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._urls: set[str] = set()
        self._size = 0

    def add(self, part: Part) -> Iterator[Task]:
        """One more; the task before it where the same resource is in that already: the order of the two counts."""
        if "/" in part.url and part.url in self._urls:
            yield from self.close()
        self._parts.append(part)
        self._urls.add(part.url)
        self._size += len(part.body)
        if len(self._parts) >= MOST or self._size >= ENOUGH:
            yield from self.close()

    def close(self) -> Iterator[Task]:
        """The task, if there is anything in it."""
        if self._parts:
            yield together(self._parts)
            self._parts, self._urls, self._size = [], set(), 0


def cut(documents: Iterable[Document]) -> Iterator[Task | Fault]:
    """The tasks that load these documents, in order; a Fault for each document that is none."""
    waiting = _Waiting()
    for document in documents:
        made = _examine(document)
        if isinstance(made, list):
            for part in made:
                yield from waiting.add(part)
        else:
            yield from waiting.close()
            yield made
    yield from waiting.close()


def together(parts: Iterable[Part], kind: Literal["resources", "one by one"] = "resources") -> Task:
    """Single resources as one task."""
    parts = tuple(parts)
    entries = b",".join(
        b'{"resource":%b,"request":{"method":"%b","url":%b}}' % (part.body, b"PUT" if "/" in part.url else b"POST", _text(part.url))
        for part in parts
    )
    bundle = b"transaction" if kind == "resources" else b"batch"
    lines = tuple(dict.fromkeys(part.line for part in parts))
    return Task(kind, lines, b'{"resourceType":"Bundle","type":"%b","entry":[%b]}' % (bundle, entries), parts)


def smaller(task: Task) -> list[Task]:
    """A refused task in smaller ones, so that only what is wrong fails; [] if it is as small as can be."""
    if task.kind == "resources":
        return [together(task.parts, "one by one")]
    return [together([part], "one by one") for part in task.parts] if len(task.parts) > 1 else []


def _examine(document: Document) -> Task | list[Part] | Fault:
    try:
        head = _head.decode(document.body)
        kind = msgspec.json.decode(head.type) if head.resource_type == "Bundle" and head.type else ""
        if kind == "transaction":
            return Task("transaction", (document.line,), document.body)
        if kind == "batch":
            return Task("batch", (document.line,), document.body)
        if kind in ("collection", "searchset"):
            entries = [bytes(entry.resource) for entry in _bundle.decode(document.body).entry if entry.resource]
            return [_part(document.line, number, body) for number, body in enumerate(entries)]
        return [_part(document.line, None, document.body)]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        return Fault(document.line, None, f"not a FHIR resource in JSON: {error}")


def _part(line: int, entry: int | None, body: bytes) -> Part:
    head = _head.decode(body)
    if not head.resource_type:
        raise ValueError("it has no resourceType")
    return Part(line, entry, body, f"{head.resource_type}/{head.id}" if head.id else head.resource_type)
