"""`fhir-server move`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fhir_server.cli.show import WRONG, err, escaped, fail, out
from fhir_server.config import Settings, load_settings
from fhir_server.data_folder import prepare
from fhir_server.moving import Foreign, Moved, move
from resources.store import ResourceStore

_SOME_SEARCH = "http://127.0.0.1:9200"
"""A MongoDB or PostgreSQL URL is good only with an Elasticsearch beside it; a move reads and writes documents alone."""


def move_command(
    source: Annotated[
        str, typer.Option("--from", envvar="FHIR_MOVE_FROM", help="The store to copy, as in FHIR_STORE_URL.", metavar="URL")
    ],
    target: Annotated[
        str,
        typer.Option("--to", envvar="FHIR_MOVE_TO", help="Where to: empty, or from an interrupted move.", metavar="URL"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Copy a whole store to another kind: every version, deletion, AuditEvent and record as it is, then compare both to the byte.

    An interrupted move goes on where it was. Stop the server first, or run the command once more after stopping it: it then copies
    what was written since. Afterwards point FHIR_STORE_URL at the new store; an Elasticsearch (FHIR_SEARCH_URL) fills itself
    from it. A URL with a password is better given in FHIR_MOVE_FROM and FHIR_MOVE_TO: the command line can be read by others.

    Exit code 0: all is there and the same. 1: something differs, and what. 2: a store is not available, or holds something else.
    """
    settings = load_settings({})
    if source == target:
        fail("--from and --to are the same store")
    here, there = _at(settings, source), _at(settings, target)
    if here.store == "sqlite" and not here.database.exists():
        fail(f"--from: the database {here.database} does not exist")
    try:
        moved = asyncio.run(_move(here, there))
    except Foreign as refused:
        fail(str(refused))
    except KeyboardInterrupt:
        fail("stopped; the same command goes on where this one was", 130)
    _report(moved, as_json)
    raise typer.Exit(WRONG if moved.differences else 0)


def _at(settings: Settings, url: str) -> Settings:
    """The settings with another store. Raises SettingsError."""
    if url == "memory://":
        fail("memory:// forgets everything when this command ends: there is nothing to move")
    checked = load_settings({"store_url": url, "search_url": _SOME_SEARCH})
    return checked.model_copy(update={"search_url": settings.search_url if checked.store == "sqlite" else _SOME_SEARCH})


async def _move(here: Settings, there: Settings) -> Moved:
    from fhir_server.app import make_store

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    if there.store == "sqlite":
        prepare(there)
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        shown = bar.add_task("opening", total=None)
        source = make_store(here)
        await source.open()
        try:
            async with _opened(there) as target:
                return await move(
                    source, target, lambda what, at, end: bar.update(shown, description=what, completed=at, total=end)
                )
        finally:
            await source.close()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[ResourceStore]:
    """The target; an embedded one with its search index, which is written along."""
    from fhir_server.app import make_target

    store = make_target(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _report(moved: Moved, as_json: bool) -> None:
    total = sum(moved.compared.values())
    if as_json:
        told = {
            "copied": moved.copied,
            "compared": total,
            "records": moved.records,
            "types": dict(sorted(moved.compared.items())),
            "digest": moved.digest,
        }
        typer.echo(json.dumps({**told, "differences": moved.differences}, indent=2))
        return
    for place in moved.differences:
        err.print(f"[red]differs:[/] {escaped(place)}")
    if not moved.differences:
        out.print(
            f"{moved.copied:,} versions copied; {total:,} of {len(moved.compared)} types are the same in both (digest {moved.digest});"
            f" {moved.records:,} records"
        )
