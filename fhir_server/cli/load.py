"""`fhir-server load`."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fhir_server.cli.options import DataDir
from fhir_server.cli.show import REFUSED, WRONG, err, escaped, fail, out
from fhir_server.config import Settings, load_settings
from fhir_server.data_folder import prepare
from fhir_server.importing.wrong import Wrong, outcome
from fhir_server.loading.crew import Load, Stopped, Totals, journal_of
from fhir_server.loading.sources import Source, Unreadable, find
from fhir_server.loading.worker import Remote

SHOWN = 20
"""Most failures that are listed; --json has them all."""

IN_FLIGHT = 4
"""Requests under way at a time with --url."""

ENOUGH = 1_000_000
"""Bytes of documents that are loaded in about the time that one more load process takes to start."""

PACKED = 10
"""How many times as large what is in a .gz file is, about."""


def load(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.", metavar="PATH")],
    url: Annotated[
        str | None, typer.Option(help="Post to the FHIR server at this base URL instead of writing to the store.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="With --url: send this header ('Name: value'); may be repeated.")] = None,
    data_dir: DataDir = None,
    processes: Annotated[
        int | None,
        typer.Option(
            help="Load processes; with --url, requests at a time.",
            min=1,
            max=64,
            show_default="one a core, fewer where there is little",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Load also what this data folder has loaded before.")] = False,
    first: Annotated[
        bool,
        typer.Option(
            "--first",
            help="Index types of which there is nothing yet in the end, in one go: much less is written where very many single resources"
            " go into the embedded engine. Until then searches for them answer 503.",
        ),
    ] = False,
    errors: Annotated[
        Path | None, typer.Option(help="Write an OperationOutcome for each failure into this file, as NDJSON.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Load Bundles and resources: .json, .ndjson, .jsonl, each also .gz, and folders of them.

    Transactions and batches are carried out as if they had been posted; single resources are put under their own id (posted, where
    they have none). Everything is validated. A load that was interrupted goes on where it was; a file that was loaded is not loaded
    a second time, unless with --again.

    Exit code 0: all loaded. 1: some was not, and which. 2: nothing to load, or the store or server is not available.
    """
    settings = load_settings({"data_dir": data_dir})
    target: Settings | Remote = settings
    if url is not None:
        target = Remote(url.rstrip("/"), tuple(_header(text) for text in header or ()))
    try:
        sources = find(paths)
        if url is None:
            prepare(settings)
        count = processes or (IN_FLIGHT if url else _worth(sources))
        started = time.monotonic()
        position = store_position(settings) if url is None else None
        totals = _with_progress(target, settings, count, sources, again=again, position=position, first=first)
        if first and url is None:
            _indexed(settings)
    except (Unreadable, Stopped) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped; the same command goes on where this one was", 130)
    if errors is not None:
        _write_errors(errors, totals)
    _report(totals, time.monotonic() - started, as_json)
    raise typer.Exit(WRONG if totals.failed else 0)


def _worth(sources: Sequence[Source]) -> int:
    """How many load processes are of use: one a core, but for so little that it is done before they have started."""
    cores = len(os.sched_getaffinity(0))
    if any(source.path is None or not source.path.is_file() for source in sources):
        return cores
    size = sum(source.size * (PACKED if source.name.endswith(".gz") else 1) for source in sources)
    return min(cores, 1 + size // ENOUGH)


def load_sample(settings: Settings, folder: Path) -> Totals | None:
    """Load the files of `folder` into an empty store, or go on with that; None if the store has something else in it."""
    try:
        sources = find([str(folder)])
        begun = any(
            path is not None and path.exists() for path in (journal_of(source, settings, settings.data_dir) for source in sources)
        )
        position = store_position(settings)
        if position > 0 and not begun:
            return None
        totals = _with_progress(settings, settings, 1, sources, again=False, position=position)
    except (Unreadable, Stopped) as error:
        fail(f"sample data: {error}")
    return totals if totals.resources else None


def store_position(settings: Settings) -> int:
    """How far the store has come: 0 if nothing was ever written."""
    from fhir_server.app import open_context

    async def look() -> int:
        async with open_context(settings) as ctx:
            return await ctx.store.position()

    return asyncio.run(look())


def _indexed(settings: Settings) -> None:
    """Wait until all that was loaded can be searched."""
    from fhir_server.access.views import deferring
    from fhir_server.app import open_context
    from search.index import Preparing

    async def wait() -> None:
        async with open_context(settings) as ctx:
            index = deferring(ctx)
            while index is not None:
                try:
                    await index.indexed(sorted(ctx.routes.types))
                    break
                except Preparing:
                    await asyncio.sleep(0.2)

    with err.status("indexing"):
        asyncio.run(wait())


def _write_errors(path: Path, totals: Totals) -> None:
    lines = []
    for each in totals.failed:
        entry = "" if each.entry is None else f", entry {each.entry}"
        lines.append(outcome(Wrong(each.line, each.issues), each.source + entry))
    try:
        path.write_bytes(b"".join(lines))
    except OSError as problem:
        fail(f"{path} cannot be written: {problem.strerror}")


def _with_progress(
    target: Settings | Remote,
    settings: Settings,
    count: int,
    sources: list[Source],
    *,
    again: bool,
    position: int | None,
    first: bool = False,
) -> Totals:
    columns = (
        TextColumn("{task.fields[what]}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[resources]:,} resources, {task.fields[rate]:,}/s, {task.fields[failed]} failed"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        size = sum(source.size for source in sources) or None
        shown = bar.add_task("", total=size, what="starting", resources=0, rate=0, failed=0)
        started = time.monotonic()

        def show(totals: Totals) -> None:
            rate = int(totals.resources / max(time.monotonic() - started, 0.1))
            bar.update(
                shown,
                completed=sum(s.read for s in sources),
                what="loading",
                resources=totals.resources,
                rate=rate,
                failed=len(totals.failed),
            )

        progress: Callable[[Totals], None] = show
        return Load(target, settings.data_dir, count, progress, first=first).run(sources, anew=again, position=position)


def _report(totals: Totals, seconds: float, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(totals), "seconds": round(seconds, 3)}, indent=2))
        return
    for name in totals.skipped:
        out.print(f"{escaped(name)} was loaded before: skipped (--again loads it once more)")
    for failed in totals.failed[:SHOWN]:
        entry = "" if failed.entry is None else f", entry {failed.entry}"
        err.print(f"[red]failed:[/] {escaped(f'{failed.source} line {failed.line}{entry}: {failed.text}')}")
    if len(totals.failed) > SHOWN:
        err.print(f"[red]and {len(totals.failed) - SHOWN:,} more failures[/]: --json lists all")
    rate, failures = totals.resources / seconds, len(totals.failed)
    out.print(
        f"{totals.resources:,} resources in {totals.requests:,} requests, {seconds:.1f} s, {rate:,.0f}/s; {failures:,} failed"
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        fail(f"--header {text!r} is not 'Name: value'", REFUSED)
    return name.strip(), value.strip()
