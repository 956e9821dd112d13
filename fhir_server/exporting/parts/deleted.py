"""What was deleted since the moment that an export is asked for, as Bundles of deletions
(https://hl7.org/fhir/uv/bulkdata/STU2/export.html#response---output-manifest)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from fhir_server.exporting.deidentified.hiding import Hiding
from fhir_server.exporting.plan import Span
from fhir_server.exporting.selecting import Selection
from fhir_server.exporting.snapshot import before
from fhir_server.exporting.writing.output import Output
from fhir_server.exporting.writing.written import Item, Place
from fhir_server.jobs.work import Task
from resources.store import Key, Version

ENTRIES = 200
"""Deletions in a Bundle."""

_PAGE = 500


async def write_deleted(task: Task, span: Span, place: Place, selection: Selection) -> Any:
    """Write the part's files, the latest deletions first: `place.after` is the position that they have come down to."""
    down = place.after if place.files else span.until + 1
    output = Output(task, Place(down, place.files), type="Bundle", name=f"deleted.{span.type}", about=(span.type,), role="deleted")
    async with output:
        position: int | None = down
        while position is not None:
            page = await task.ctx.store.history(span.type, None, before=position, limit=_PAGE)
            found = [version for version in page.versions if version.position > span.after]
            gone = [version for version in found if version.body is None and await _exported(task, version, selection)]
            await output.add([_bundle(gone[start : start + ENTRIES], selection.hiding) for start in range(0, len(gone), ENTRIES)])
            position = page.next if len(found) == len(page.versions) else None
        await output.close()
        return output.place.files


async def _exported(task: Task, deletion: Version, selection: Selection) -> bool:
    """Whether it was not made anew since, up to the snapshot, and was of what is exported when it said something last."""
    store, key = task.ctx.store, Key(deletion.type, deletion.id)
    latest = await before(store, key, selection.whole.position)
    if latest is None or latest.position != deletion.position:
        return False
    for number in range(deletion.version - 1, 0, -1):
        version = await store.read_version(deletion.type, deletion.id, number)
        if version is not None and version.body is not None:
            filters = await selection.filtering(deletion.type) if selection.of_patients(version) else None
            # what the index was asked about is not in it any more
            told = filters is None or filters.tell is None or filters.tell(version)
            return told and selection.of_patients(version)
    return False


def _bundle(deletions: Sequence[Version], hiding: Hiding | None) -> Item:
    ids = [hiding.id(each.type, each.id) if hiding is not None else each.id for each in deletions]
    entries = [{"request": {"method": "DELETE", "url": f"{each.type}/{id}"}} for each, id in zip(deletions, ids, strict=True)]
    return Item(msgspec.json.encode({"resourceType": "Bundle", "type": "transaction", "entry": entries}), deletions[-1].position)
