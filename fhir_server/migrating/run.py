"""A migration from its beginning to its report: the source made ready, chunk after chunk written, deletions carried out, everything
compared. Whoever is killed is followed by the same command: the ledger knows how far it has come."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.messages import FhirRequest
from fhir_server.migrating.chunks import Chunks
from fhir_server.migrating.contract import Problem, Progress, Source, Stopped, Wrong
from fhir_server.migrating.ledger import Ledger
from fhir_server.migrating.referring import dangling
from fhir_server.migrating.report import Row, Summary, write_report
from fhir_server.migrating.verifying import Verified, verify
from fhir_server.migrating.writing import WHO, Looking, Receiver, Storing
from resources.ids import valid_id
from resources.outcomes import FhirError

FIRST = 20
"""Problems that a summary shows."""


def migrate(settings: Settings, source: Source, folder: Path, report: Path, *, dry_run: bool, progress: Progress) -> Summary:
    """Carry out a migration; `folder` is its own. A dry run writes nothing but the report. Raises Stopped, StoreUnavailable, OSError."""
    began = time.monotonic()
    source.prepare(progress)  # before there is a ledger: where nothing can be had, nothing is left that could be gone on with
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        ended = asyncio.run(_carry_out(settings, source, ledger, dry_run=dry_run, progress=progress))
        rows = _rows(source, ledger, ended.verified)
        count, errors, first = write_report(
            report, chain(source.problems(), _short(rows), ledger.wrongs(), ended.verified.wrong, ended.dangling[1]), FIRST
        )
        return Summary(
            dry_run=dry_run,
            types=rows,
            deleted=ended.deleted,
            dangling=ended.dangling[0],
            problems=count,
            errors=errors,
            first=first,
            report=str(report),
            seconds=round(time.monotonic() - began, 3),
        )
    finally:
        ledger.close()


class _Ended(NamedTuple):
    """What came of all chunks: the comparison, how many were deleted, how much is referred to and not here, and the first of that."""

    verified: Verified
    deleted: int
    dangling: tuple[int, list[Wrong]]


async def _carry_out(settings: Settings, source: Source, ledger: Ledger, *, dry_run: bool, progress: Progress) -> _Ended:
    async with _opened(settings, dry_run=dry_run) as ctx:
        receiver: Receiver = Looking(ctx) if dry_run else Storing(ctx, _run_of(ledger))
        chunks = Chunks(receiver, ledger, ctx.routes.types, strict=source.strict)
        total, done = sum(source.counts().values()) or None, sum(ledger.counts().get("received", Counter()).values())
        try:
            for chunk in source.chunks(ledger.place()):
                await chunks.write(chunk)
                done += len(chunk.items) + len(chunk.wrong)
                progress("checking" if dry_run else "writing", done, total)
            deleted = await _delete(ctx, source, ledger, dry_run=dry_run)
        except FhirError as refusal:
            raise Stopped(str(refusal)) from None
        verified = Verified() if dry_run else await verify(ctx, ledger, lambda count: progress("comparing", count, total))
        return _Ended(verified, deleted, await dangling(ctx, ledger))


@asynccontextmanager
async def _opened(settings: Settings, *, dry_run: bool) -> AsyncIterator[Context]:
    """The store; of a dry run where there is none yet, one in memory, so that none is made."""
    from fhir_server.app import open_context

    if dry_run and settings.store == "sqlite" and not settings.database.exists():
        settings = settings.model_copy(update={"store_url": "memory://"})
    async with open_context(settings, feeding=not dry_run) as ctx:
        yield ctx


async def _delete(ctx: Context, source: Source, ledger: Ledger, *, dry_run: bool) -> int:
    """Delete what the source has deleted, as far as it is here. How many that were."""
    from fhir_server.perform import answer

    count = 0
    for type, id in source.deleted():
        if type not in ctx.routes.types or not valid_id(id):
            continue
        found = await ctx.store.read(type, id)
        if found is None or found.body is None or ledger.known(type, [id]):
            continue
        count += 1
        if not dry_run:
            await answer(ctx, WHO, FhirRequest("DELETE", f"{type}/{id}", base=ctx.settings.base))
    return count


def _run_of(ledger: Ledger) -> str:
    """The name of this migration, the same for all attempts."""
    name = ledger.note("run")
    if name is None:
        name = token_hex(16).encode()
        ledger.keep("run", name)
    return name.decode()


def _rows(source: Source, ledger: Ledger, verified: Verified) -> dict[str, Row]:
    told, counts = source.counts(), ledger.counts()
    types = sorted({*told, *chain.from_iterable(counts.values())})

    def of(what: str, type: str) -> int:
        return counts.get(what, Counter())[type]

    return {
        type or "?": Row(
            source=told.get(type),
            received=of("received", type),
            written=of("written", type),
            unchanged=of("unchanged", type),
            repeated=of("repeated", type),
            failed=of("failed", type),
            verified=verified.same[type],
            different=verified.different[type],
        )
        for type in types
    }


def _short(rows: dict[str, Row]) -> Iterator[Wrong]:
    """Types of which fewer or more came than the source says it has."""
    for type, row in rows.items():
        came = row["received"] - row["repeated"]
        if row["source"] is not None and row["source"] != came:
            text = f"The source says that it has {row['source']:,}, and {came:,} came: it may have changed meanwhile; import again"
            yield Wrong(type, type, (Problem("incomplete", text),))
