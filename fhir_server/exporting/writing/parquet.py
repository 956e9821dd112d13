"""Documents as Parquet: one column for each element at the top of the type, from its definition and never from the values.

Booleans and whole numbers have their own types; other primitives are text as they are written (a decimal keeps its digits, a date its
precision). Whatever is complex or repeats is JSON text, spelled as it is stored, and so is what stands beside primitives (`_birthDate`).
Choices have one column for each of their names (`valueQuantity`). Nothing is lost.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import pyarrow as pa
from pyarrow import parquet

from conformance.load import definitions
from fhir_server.exporting.writing.written import Item
from fhir_server.files.contract import Writer
from fhir_server.files.drain import Drain
from resources.documents import members

GROUP_ROWS: Final = 5_000
GROUP_BYTES: Final = 8_000_000
"""A row group ends with either (bytes of JSON)."""

pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps for itself what a row group took: 40 MB of a worker

BATCH_ROWS: Final = 500
"""Documents that are taken apart at a time: their members take several times the room of a column."""

_INTEGERS: Final = ("integer", "positiveInt", "unsignedInt")
_text = msgspec.json.Decoder(str).decode


@lru_cache(maxsize=256)
def schema_of(type: str) -> Any:
    """The Arrow schema of documents of a type; each field tells its FHIR type in its metadata."""
    fields = [pa.field("resourceType", pa.string(), metadata={"fhir:type": "code"})]
    for element in definitions().types[type].elements.values():
        for name, code in element.json.items():
            primitive = definitions().types[code].kind == "primitive"
            told = {"fhir:type": f"{code}[]" if element.many else code}
            fields.append(pa.field(name, _type(code) if primitive and not element.many else pa.string(), metadata=told))
            if primitive:
                fields.append(pa.field(f"_{name}", pa.string(), metadata={"fhir:type": "Element"}))
    return pa.schema(fields)


def _type(code: str) -> Any:
    return pa.bool_() if code == "boolean" else pa.int32() if code in _INTEGERS else pa.string()


class Columns:
    """A sheet (`output.Sheet`) of Parquet, packed with zstd."""

    def __init__(self, file: Writer, type: str) -> None:
        self._file, self._schema = file, schema_of(type)
        self._readers = {field.name: _reader(field) for field in self._schema}
        self._drain = Drain()
        bounded = [field.name for field in self._schema if _is_primitive(field)]
        self._writer = parquet.ParquetWriter(self._drain, self._schema, compression="zstd", write_statistics=bounded)
        self._rows: list[bytes] = []
        self._batches: list[Any] = []
        self._count = self._bytes = 0

    async def write(self, items: Sequence[Item]) -> None:
        """See Sheet."""
        for item in items:
            self._rows.append(item.data)
            self._count, self._bytes = self._count + 1, self._bytes + len(item.data)
            if self._count >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                await self._flush()
            elif len(self._rows) == BATCH_ROWS:
                self._batch()

    async def finish(self) -> None:
        """See Sheet."""
        await self._flush()
        self._writer.close()
        await self._file.write(self._drain.take())

    def _batch(self) -> None:
        documents = [members(row) for row in self._rows]
        arrays = [
            pa.array([None if (raw := each.get(field.name)) is None else read(raw) for each in documents], field.type)
            for field, read in zip(self._schema, self._readers.values(), strict=True)
        ]
        self._batches.append(pa.record_batch(arrays, schema=self._schema))
        self._rows = []

    async def _flush(self) -> None:
        if self._count:
            self._batch()
            self._writer.write_table(pa.Table.from_batches(self._batches), row_group_size=GROUP_ROWS)
            self._batches, self._count, self._bytes = [], 0, 0
            await self._file.write(self._drain.take())


def _reader(field: Any) -> Any:
    """What turns the raw JSON of a member into the value of a column."""
    if field.type == pa.bool_():
        return lambda raw: bytes(raw) == b"true"
    if field.type == pa.int32():
        return lambda raw: int(bytes(raw))
    if _is_primitive(field) and _told(field) != "decimal":
        return _text
    return lambda raw: bytes(raw).decode()


def _told(field: Any) -> str:
    name: str = field.metadata[b"fhir:type"].decode()
    return name


def _is_primitive(field: Any) -> bool:
    """Whether it has one plain value: the least and the greatest of it are worth to be told. Of JSON they are not, and a writer holds
    them, a large document several times over, until the file ends."""
    told = _told(field)
    return told in definitions().types and definitions().types[told].kind == "primitive"
